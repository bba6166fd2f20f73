"""`s2rm track sync`: what is recorded on this machine reaches a store, once, also one that was lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import make_journal, points, run_of, send

from s2rm.cli import main
from s2rm.tracking import MlflowStore
from s2rm.tracking.evaluations import Evaluation
from s2rm.tracking.journal import Journal, held
from s2rm.tracking.synchronise import advise_recording, synchronise

Sync = Callable[[Path], tuple[int | str | None, str, str]]


def evaluate(root: Path, identity: str | None, value: float = 1.0) -> None:
    table = root / "table.md"
    table.write_text("| a |")
    Evaluation(identity, "joint", "s2rm", {"a": value}, {"run": "joint"}).keep(root, {"tables": [table]})


@pytest.fixture
def sync(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sync:
    """Runs `s2rm track sync`; returns exit code, output and errors."""

    def run(root: Path) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["s2rm", "track", "sync"])
        monkeypatch.chdir(root)
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        return (done.value.code, *capsys.readouterr())

    return run


def describe(store: MlflowStore) -> list[Any]:
    """All that matters of all runs."""
    return sorted(
        (
            run.title,
            run.status,
            run.published,
            points(store, run.run_id),
            points(store, run.run_id, "a"),
            store.fetch(run.run_id, "tables", Path()) is not None,
        )
        for run in store.list_runs()
    )


def test_everything_is_sent_once_also_to_a_store_that_was_lost(
    root: Path, tmp_path: Path, sync: Sync
) -> None:
    first, second = make_journal(root), make_journal(root, steps=3, name="other")
    evaluate(root, first.identity)
    evaluate(root, first.identity, 2.0)
    evaluate(root, None)
    sent = synchronise(root)
    assert (sent.trainings, sent.evaluations, sent.points, sent.left_out) == (2, 3, 5, [])
    before = describe(MlflowStore(root, "s2rm"))
    assert [run[:3] for run in before] == [
        ("joint", "FINISHED", True),
        ("joint", "FINISHED", True),
        ("joint-evaluation", "FINISHED", True),
        ("other", "FINISHED", False),
    ]
    assert synchronise(root).points == 0
    assert describe(MlflowStore(root, "s2rm")) == before
    lost = tmp_path / "lost"
    shutil.copytree(root, lost, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    code, out, err = sync(lost)
    counts = "2 trainings and 3 evaluations of .tracking/; 5 points were missing"
    assert (code, out, err) == (0, f"sqlite:///{lost}/mlflow.db holds {counts}\n", "")
    assert describe(MlflowStore(lost, "s2rm")) == before
    assert run_of(MlflowStore(lost, "s2rm"), second.identity).info.run_name == "other"


@pytest.mark.slow
def test_to_another_store_and_back(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_journal(root)
    assert synchronise(root).points == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert [synchronise(root).points, synchronise(root).points] == [2, 0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert synchronise(root).points == 0


def test_each_training_reaches_its_own_experiment(root: Path) -> None:
    make_journal(root)
    make_journal(root, experiment="other")
    synchronise(root)
    assert [len(MlflowStore(root, name).list_runs()) for name in ("s2rm", "other")] == [1, 1]


@pytest.mark.kill
@pytest.mark.slow
def test_a_training_that_was_killed_is_marked(root: Path, store: MlflowStore) -> None:
    code = """
import os, sys, time
from collections.abc import Callable
from pathlib import Path
from s2rm.tracking.live import record_training
root = Path(sys.argv[1])
names = {"name": "joint", "params": {}, "tags": {}, "datasets": {}}
with record_training(root, "s2rm", root / "run.json", **names) as journal:
    journal.log({"train/loss": 1.0}, 1)
    print("runs", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code, root], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    (line,) = synchronise(root).left_out
    assert line.endswith("another process trains or sends it now")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert synchronise(root).left_out == []
    (run,) = store.list_runs()
    assert run.status == "KILLED"
    assert points(store, run.run_id) == [(1, 1.0)]
    assert synchronise(root).points == 0


def test_a_training_that_is_continued_is_not_marked(root: Path, store: MlflowStore) -> None:
    journal = make_journal(root)
    send(journal, store)
    again = Journal(root, journal.identity, {})
    assert len(synchronise(root).left_out) == 1
    again.close()
    synchronise(root)
    assert run_of(store, journal.identity).info.status == "KILLED"


@pytest.mark.slow
def test_two_at_a_time(root: Path) -> None:
    for number in range(3):
        evaluate(root, make_journal(root, name=f"run{number}").identity, float(number))
    command = [sys.executable, "-m", "s2rm.cli", "track", "sync"]
    both = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for each in both:
        each.communicate()
    assert [each.returncode for each in both] == [0, 0]
    store = MlflowStore(root, "s2rm")
    assert [run[:3] for run in describe(store)] == [(f"run{i}", "FINISHED", True) for i in range(3)]
    assert all(run[3:] == ([(1, 1.0), (2, 0.5)], run[4], True) for run in describe(store))
    assert synchronise(root).points == 0


@pytest.mark.hostile
@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}\n", b'{"event": "metrics"}\n', b"\x00" * 50])
def test_a_record_that_is_damaged_is_named_and_the_others_are_sent(root: Path, content: bytes) -> None:
    damaged, whole = make_journal(root), make_journal(root, name="whole")
    damaged.path.write_bytes(content)
    sent = synchronise(root)
    assert sent.left_out == [f"{damaged.identity}: {damaged.path} is damaged"]
    assert sent.trainings == 1
    assert run_of(MlflowStore(root, "s2rm"), whole.identity)


@pytest.mark.hostile
@pytest.mark.parametrize("content", ["", "nonsense", "{}", "[]", '{"time": "x"}'])
def test_an_evaluation_that_is_damaged_is_named(root: Path, content: str) -> None:
    journal = make_journal(root)
    evaluate(root, journal.identity)
    (file,) = journal.path.parent.glob("evaluations/*/evaluation.json")
    file.write_text(content)
    (line,) = synchronise(root).left_out
    assert line == f"{journal.identity}: {file} is damaged"


def test_nothing_to_send_and_no_store(tmp_path: Path, sync: Sync) -> None:
    assert sync(tmp_path) == (0, "nothing is recorded in .tracking/: a training records itself\n", "")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.hostile
def test_a_store_that_cannot_be_used_is_one_line(tmp_path: Path, sync: Sync) -> None:
    make_journal(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"nonsense" * 1000)
    code, _, err = sync(tmp_path)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith(
        f"error: the MLflow store sqlite:///{tmp_path}/mlflow.db is not a database: if it was"
    )


def test_the_advice_names_what_is_there(root: Path) -> None:
    assert advise_recording(root) == "`dvc repro` trains and records what is new"
    (root / "results/joint").mkdir(parents=True)
    (root / "results/joint/mlflow.json").write_text(json.dumps({"run_id": None}))
    assert advise_recording(root).startswith("`dvc repro --single-item --force report` records")
    make_journal(root)
    assert advise_recording(root).startswith("`s2rm track sync` records")
    with held(root / ".tracking" / "none") as free:
        assert free
