"""`dvc repro` stopped and gone on with, and by several processes; real git, DVC and MLflow, tiny data."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from clone import Clone, make_model_small
from mlflow import MlflowClient

from s2rm.tracking.journal import find_journals, read_events

pytestmark = [pytest.mark.timeout(900), pytest.mark.kill, pytest.mark.slow]
PATIENCE = 120.0  # seconds


def make_tiny(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = ["refcocog_umd"]
    params["data"]["refshapes"] |= {"train_images": 60, "eval_images": 4}
    params["runs"] = {"tiny": {"train_on": ["refcocog_umd"], "evaluate_on": ["refcocog_umd"]}}
    make_model_small(params)
    params["train"]["save_minutes"] = 0


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Stopped by Ctrl-C and killed in its training, then finished with another comment in the model."""
    clone = Clone(tmp_path_factory.mktemp("clone"), make_tiny)
    clone.outputs = [interrupt(clone, number) for number in (signal.SIGINT, signal.SIGKILL)]
    module = clone.folder / "src/s2rm/model/fusion/coparse.py"
    module.write_text(module.read_text() + "# a comment\n")
    clone.outputs.append(clone.dvc("repro"))
    clone.commit()
    return clone


def interrupt(clone: Clone, number: signal.Signals) -> str:
    """Sends a signal to all of `dvc repro`, as a terminal does, once it has trained for a few steps."""
    before = last_step(clone)
    process = clone.start("repro")
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and last_step(clone) < before + 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode
    return output


def last_step(clone: Clone) -> int:
    """Of the training's record; MLflow has it some seconds later."""
    events = [event for journal in find_journals(clone.folder) for event, _ in read_events(journal)]
    return max((event.get("step", 0) for event in events), default=0)


def test_ctrl_c_ends_with_one_line(clone: Clone) -> None:
    (line,) = [line for line in clone.outputs[0].splitlines() if line.startswith("stopped: ")]
    assert line.startswith("stopped: SIGINT after step ")
    assert line.endswith("the state is saved, the same command continues it")
    assert "Traceback" not in clone.outputs[0]


def test_the_same_command_continues(clone: Clone) -> None:
    assert "continuing after step" in clone.outputs[1]
    assert "continuing after step" in clone.outputs[2]


def test_one_run_with_each_point_once(clone: Clone) -> None:
    (run,) = clone.runs()
    assert run.info.status == "FINISHED"
    assert len(find_journals(clone.folder)) == 1
    client = MlflowClient(f"sqlite:///{clone.folder}/mlflow.db")
    steps = [entry.step for entry in client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == list(range(1, len(steps) + 1))
    history = (clone.folder / "models/tiny/history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["step"] == len(steps)


def test_the_same_bits_as_without_interruption(clone: Clone) -> None:
    files = {path.name: path.read_bytes() for path in (clone.folder / "models/tiny").iterdir()}
    clone.dvc("repro", "--single-item", "--force", "train@tiny")
    assert {path.name: path.read_bytes() for path in (clone.folder / "models/tiny").iterdir()} == files


def stage(clone: Clone, *arguments: str, launch: str = "") -> str:
    """A stage's own command, without DVC."""
    environment = {**clone.environment, "S2RM_LAUNCH": launch}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=clone.folder, env=environment, check=True, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=PATIENCE,
    ).stdout  # fmt: skip


def test_a_finished_state_is_kept_until_the_model_is_evaluated(clone: Clone) -> None:
    """As if DVC were killed before it has taken the model into its cache."""
    assert list((clone.folder / ".scratch").glob("*/finished"))
    files = {path.name: path.read_bytes() for path in (clone.folder / "models/tiny").iterdir()}
    shutil.rmtree(clone.folder / "models/tiny")
    again = stage(clone, "pipeline/train.py", "tiny")
    assert "epoch 1/2" not in again
    assert {path.name: path.read_bytes() for path in (clone.folder / "models/tiny").iterdir()} == files
    stage(clone, "pipeline/evaluate.py", "tiny")
    assert not list((clone.folder / ".scratch").glob("*/run.json"))


def test_the_same_training_at_once_is_done_once(clone: Clone) -> None:
    """As of two experiments in a queue that differ in what evaluates: one waits for the other's result.

    The one that trains says why it does not continue a state that other code has left.
    """
    older = clone.folder / ".scratch/older"
    older.mkdir(parents=True)
    (older / "state.pt").touch()
    (older / "key.json").write_text(json.dumps({"run": "tiny", "parameters": {}, "code": {}}))
    before = {run.info.run_id for run in clone.runs()}
    command = [sys.executable, "pipeline/train.py", "tiny"]
    trainings = [
        subprocess.Popen(
            command, cwd=clone.folder, env=clone.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [training.communicate(timeout=PATIENCE)[0] for training in trainings]
    assert [training.returncode for training in trainings] == [0, 0], outputs
    assert sum("the same training runs in another process" in output for output in outputs) == 1
    assert sum("epoch 1/2" in output for output in outputs) == 1
    reason = "the training of tiny starts over: since its unfinished state in .scratch/older, these changed: "
    assert sum(reason in output for output in outputs) == 1
    assert len({run.info.run_id for run in clone.runs()} - before) == 1
    shutil.rmtree(clone.folder / ".scratch")
    clone.dvc("checkout", "--force", "models/tiny")


@pytest.mark.distributed
def test_stages_by_two_processes(clone: Clone) -> None:
    launch = "torchrun --standalone --nproc-per-node 2"
    metrics = (clone.folder / "results/tiny/metrics.json").read_bytes()
    stage(clone, "pipeline/evaluate.py", "tiny", launch=launch)
    assert (clone.folder / "results/tiny/metrics.json").read_bytes() == metrics
    before = {run.info.run_id for run in clone.runs()}
    shutil.rmtree(clone.folder / "models/tiny")
    output = stage(clone, "pipeline/train.py", "tiny", launch=launch)
    assert output.count("epoch 2: ") == 1  # one of them speaks
    (added,) = [run for run in clone.runs() if run.info.run_id not in before]
    assert added.info.status == "FINISHED"
    shutil.rmtree(clone.folder / ".scratch")
    clone.dvc("checkout", "--force", "models/tiny")


@pytest.mark.distributed
def test_accelerate_as_launcher(clone: Clone) -> None:
    """It starts several processes on GPUs only; here one, which does not launch itself again."""
    metrics = (clone.folder / "results/tiny/metrics.json").read_bytes()
    launch = (
        "accelerate launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"
    )
    stage(clone, "pipeline/evaluate.py", "tiny", launch=launch)
    assert (clone.folder / "results/tiny/metrics.json").read_bytes() == metrics


def test_a_launcher_that_is_not_there(clone: Clone) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        stage(clone, "pipeline/evaluate.py", "tiny", launch="no-such-launcher --fast")
    assert (
        "error: $S2RM_LAUNCH is 'no-such-launcher --fast': No such file or directory" in failed.value.stdout
    )
