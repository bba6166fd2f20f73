"""What the pipeline records without a server, at another place, and after its store was lost."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clone import Clone, make_model_small
from mlflow import MlflowClient
from servers import free_port

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def make_tiny(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = ["refcocog_umd"]
    params["data"]["refshapes"] |= {"train_images": 8, "eval_images": 2}
    params["runs"] = {"tiny": {"train_on": ["refcocog_umd"], "evaluate_on": ["refcocog_umd"]}}
    make_model_small(params)


def s2rm(clone: Clone, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "s2rm.cli", *arguments], cwd=clone.folder, env=clone.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Where every stage has run while the server was away."""
    clone = Clone(tmp_path_factory.mktemp("clone"), make_tiny)
    clone.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"
    clone.first = clone.dvc("repro")
    clone.commit()
    del clone.environment["MLFLOW_TRACKING_URI"]
    return clone


def test_without_its_server_the_pipeline_ends_well_and_says_what_is_missing(clone: Clone) -> None:
    assert "Traceback" not in clone.first
    assert clone.first.count("does not answer: is the server running") == 2, "once per stage that records"
    assert "points of the training not sent to MLflow: `s2rm track sync` sends what is missing" in clone.first
    assert "kept in .tracking/: `s2rm track sync` sends it when that is corrected" in clone.first
    assert not (clone.folder / "mlflow.db").exists()
    assert ".tracking" not in clone.git("status", "--porcelain", "--ignored=no")


def test_an_ablation_without_a_store_names_the_command_that_helps(clone: Clone) -> None:
    refused = s2rm(clone, "ablation", code=2)
    assert "is recorded here: `s2rm track sync` records what was trained and evaluated here" in refused
    assert "holds 1 trainings and 1 evaluations" in s2rm(clone, "track", "sync")
    (run,) = clone.runs()
    assert run.info.status == "FINISHED"
    client = MlflowClient(f"sqlite:///{clone.folder}/mlflow.db")
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 1
    assert "; 0 points were missing" in s2rm(clone, "track", "sync")
    assert "left out" not in s2rm(clone, "ablation")


def test_a_project_that_was_moved_writes_and_reads_at_its_new_place(clone: Clone, tmp_path: Path) -> None:
    old, clone.folder = clone.folder, tmp_path / "moved"
    shutil.move(old, clone.folder)
    clone.environment["PYTHONPATH"] = str(clone.folder / "src")
    assert "left out" not in s2rm(clone, "ablation")
    clone.dvc("exp", "run", "--temp", "-S", "evaluate.threshold=0.1")
    assert len(clone.runs()) == 2, "the other evaluation is a child"
    assert not old.exists()
    assert "measured differently" in s2rm(clone, "ablation")


def test_a_lost_store_is_filled_again(clone: Clone, tmp_path: Path) -> None:
    for path in (clone.folder / "reports/ablations").glob("ablation.*"):
        path.unlink()
    (clone.folder / "mlflow.db").unlink()
    assert "`s2rm track sync` records" in s2rm(clone, "ablation", code=2)
    s2rm(clone, "track", "sync")
    assert len(clone.runs()) == 2
    s2rm(clone, "ablation")


def test_what_was_recorded_elsewhere_is_recorded_from_the_results(clone: Clone) -> None:
    """As after `dvc pull`, or by an earlier version."""
    for path in (clone.folder / "reports/ablations").glob("ablation.*"):
        path.unlink()
    (clone.folder / "mlflow.db").unlink()
    shutil.rmtree(clone.folder / ".tracking")
    refused = s2rm(clone, "ablation", code=2)
    assert "is recorded here: `dvc repro --single-item --force report` records the evaluations in" in refused
    clone.dvc("repro", "--single-item", "--force", "report")
    s2rm(clone, "ablation")
