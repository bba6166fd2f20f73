"""The way of a journal into a real MLflow store: everything once, whatever happens on the way."""

from pathlib import Path

import pytest
from recorded import make_journal, points, run_of, send

from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.journal import Journal
from s2rm.tracking.upload import SENT, Upload

HEAD = {"name": "joint", "experiment": "s2rm", "params": {}, "tags": {"run": "joint", "dvc.stage": "train"}}


def test_a_training_has_parameters_and_metrics_by_step(root: Path, store: MlflowStore) -> None:
    params = {"train.seed": 1, "run": "joint", "long": "x" * 7000}
    params |= {f"many.{i}": i for i in range(150)}  # more than one request may hold
    journal = Journal(root, None, {**HEAD, "params": params})
    upload = Upload(journal.path, running=True)
    journal.log_json("environment.json", {"python": "3"})
    for step in (1, 2, 3):
        journal.log({"train/loss": 3 - step, "val/mean/mIoU": step}, step)
        upload.send(store)
    run = run_of(store, journal.identity)
    assert run.info.status == "RUNNING"
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["environment.json"]
    with journal:
        pass
    upload.send(store)
    journal.close()
    run = run_of(store, journal.identity)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "joint"
    assert run.data.tags["dvc.stage"] == "train"
    assert run.data.params == {name: str(value)[:6000] for name, value in params.items()}
    assert points(store, run.info.run_id) == [(1, 2.0), (2, 1.0), (3, 0.0)]
    assert points(store, run.info.run_id, "val/mean/mIoU") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_twice_is_once(root: Path, store: MlflowStore) -> None:
    journal = make_journal(root, steps=250)
    assert [send(journal, store), send(journal, store)] == [250, 0]
    run_id = run_of(store, journal.identity).info.run_id
    assert [step for step, _ in points(store, run_id)] == list(range(1, 251))
    assert len(store.list_runs()) == 1


def test_an_answer_that_is_lost_costs_no_point_and_doubles_none(root: Path, store: MlflowStore) -> None:
    """As if the process had ended between a request and the note of how much was sent."""
    journal = make_journal(root, steps=150)
    send(journal, store)
    run_id = run_of(store, journal.identity).info.run_id
    for noted in ("0", "1000", str(10**9), journal.path.stat().st_size // 2):
        store.client.set_tag(run_id, SENT, noted)
        send(journal, store)
        assert [step for step, _ in points(store, run_id)] == list(range(1, 151))


@pytest.mark.parametrize("values", [{f"many/{i}": float(i) for i in range(1100)}, {"nan": float("nan")}])
def test_unusual_points(root: Path, store: MlflowStore, values: dict[str, float]) -> None:
    journal = make_journal(root)
    again = Journal(root, journal.identity, HEAD)
    again.log(values, 3)
    again.close()
    send(journal, store)
    store.client.set_tag(run_of(store, journal.identity).info.run_id, SENT, "0")
    send(journal, store)
    assert run_of(store, journal.identity).data.metrics.keys() == {*values, "train/loss"}
    assert len(points(store, run_of(store, journal.identity).info.run_id, next(iter(values)))) == 1


def test_a_run_that_was_deleted_in_mlflow_is_left_out(root: Path, store: MlflowStore) -> None:
    journal = make_journal(root)
    send(journal, store)
    run_id = run_of(store, journal.identity).info.run_id
    store.client.delete_run(run_id)
    with pytest.raises(UserError, match="the run joint was deleted in MLflow, and is left out") as error:
        send(journal, store)
    assert f"mlflow runs restore --run-id {run_id} restores it" in str(error.value)
    assert store.list_runs() == []
    store.client.restore_run(run_id)
    send(journal, store)


@pytest.mark.parametrize("tag", ["", "abc", "-1", "1e3", "99999999", "²"])
def test_a_tag_that_somebody_has_edited(root: Path, store: MlflowStore, tag: str) -> None:
    journal = make_journal(root)
    send(journal, store)
    run_id = run_of(store, journal.identity).info.run_id
    before = {name: points(store, run_id, name) for name in run_of(store, journal.identity).data.metrics}
    store.log(run_id, tags={SENT: tag})
    send(journal, store)
    assert before == {name: points(store, run_id, name) for name in before}
