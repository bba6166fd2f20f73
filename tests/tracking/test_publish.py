"""Evaluations in a real MLflow store: each once, on the run of the training that it belongs to."""

from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pytest
from mlflow import MlflowClient
from recorded import make_journal, points, run_of, send

from s2rm.config.benchmarks import ALL_BENCHMARKS
from s2rm.reporting.summary import compared_metrics
from s2rm.scoring.metrics import METRICS as MEASURES
from s2rm.scoring.metrics import PROTOCOLS
from s2rm.tracking import MlflowStore
from s2rm.tracking import publish as publishing
from s2rm.tracking.publish import EXPERIMENTS
from s2rm.tracking.store_errors import StoreError

METRICS = {"oIoU/refcoco_plus_testA": 41.5, "P_0.5/refcoco_plus_testA": 40.0}
OTHER = {**METRICS, "oIoU/refcoco_plus_testA": 39.0}


@pytest.fixture
def trained(root: Path, store: MlflowStore) -> str:
    """Our own id of a recorded training."""
    journal = make_journal(root)
    send(journal, store)
    return journal.identity


def publish(
    store: MlflowStore, identity: str | None, metrics: dict[str, float] = METRICS, **rest: Any
) -> str:
    arguments = {"files": {}, "tags": {}, **rest}
    return publishing.publish(store, identity, "joint", metrics, **arguments)


def children(store: MlflowStore, run_id: str) -> list[str]:
    return [run.info.run_id for run in store.search({"mlflow.parentRunId": run_id})]


def test_an_evaluation_is_published_once_on_the_training_s_run(
    store: MlflowStore, trained: str, tmp_path: Path
) -> None:
    run_id = run_of(store, trained).info.run_id
    table = tmp_path / "table.md"
    table.write_text("| a |")
    for _ in range(2):
        assert publish(store, trained, files={"tables": [table]}) == run_id
    for name, value in METRICS.items():
        assert points(store, run_id, name) == [(0, value)]
    assert not children(store, run_id)
    assert points(store, run_id) == [(1, 1.0), (2, 0.5)]
    assert [file.path for file in store.client.list_artifacts(run_id, "tables")] == ["tables/table.md"]
    assert run_of(store, trained).info.status == "FINISHED"
    table.write_text("| b |")
    publish(store, trained, files={"tables": [table]})
    fetched = store.fetch(run_id, "tables", tmp_path)
    assert fetched is not None
    assert (fetched / "table.md").read_text() == "| b |"


def test_a_run_that_was_recorded_without_an_id_of_ours_is_found_by_mlflow_s(store: MlflowStore) -> None:
    run_id = store.create("earlier", {"run": "joint"})
    assert publish(store, run_id) == run_id


def test_another_evaluation_has_exactly_one_child(store: MlflowStore, trained: str) -> None:
    run_id = publish(store, trained)
    child = publish(store, trained, OTHER)
    assert child != run_id
    assert publish(store, trained, OTHER) == child
    assert publish(store, trained) == run_id
    assert children(store, run_id) == [child]
    for name in METRICS:
        assert points(store, run_id, name) == [(0, METRICS[name])]
        assert points(store, child, name) == [(0, OTHER[name])]
    assert store.client.get_run(child).info.status == "FINISHED"
    third = publish(store, trained, {**METRICS, "oIoU/refcoco_plus_testA": 1.0})
    assert sorted(children(store, run_id)) == sorted([child, third])


@pytest.mark.parametrize("identity", ["f" * 32, None])
def test_an_unknown_training_has_one_standalone_run(store: MlflowStore, identity: str | None) -> None:
    first = publish(store, identity)
    assert publish(store, identity) == first
    run = store.client.get_run(first)
    assert run.info.status == "FINISHED"
    assert run.data.tags["trained_run"] == (identity or "untracked")
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.data.metrics == METRICS
    assert all(len(points(store, first, name)) == 1 for name in METRICS)
    assert publish(store, identity, OTHER) != first


def test_experiments_accumulate_in_a_tag(store: MlflowStore, trained: str) -> None:
    for experiments in (["nobal"], ["again", "nobal"], []):
        publish(store, trained, experiments=experiments)
    assert run_of(store, trained).data.tags[EXPERIMENTS] == "again,nobal"


def test_names_of_metrics_are_those_that_mlflow_allows(store: MlflowStore, trained: str) -> None:
    """MLflow refuses + and @, hence refcoco_plus and P_0.5; every name of the evaluation is valid."""
    metrics = compared_metrics(scores_of_everything())
    assert {"oIoU/refcoco_plus_testA", "P_0.5/referit_test", "mIoU/refcocog_umd_val"} <= metrics.keys()
    assert not [name for name in metrics if "+" in name or "@" in name]
    run_id = publish(store, trained, metrics)
    assert store.client.get_run(run_id).data.metrics.keys() >= metrics.keys()


def scores_of_everything() -> pd.DataFrame:
    """Scores as `load_scores` returns them, of every benchmark, split and protocol."""
    rows = [
        {"benchmark": name, "split": split, "protocol": protocol, **dict.fromkeys(MEASURES, 1.0)}
        for name, benchmark in ALL_BENCHMARKS.items()
        for split in benchmark.evaluation_splits
        for protocol in PROTOCOLS
    ]
    return pd.DataFrame(rows)


def test_each_metric_belongs_to_the_data_it_was_measured_on(store: MlflowStore, trained: str) -> None:
    """A mean over benchmarks belongs to none."""
    metrics = compared_metrics(scores_of_everything()) | {"mIoU/val_mean": 1.0}
    publish(store, trained, metrics, datasets={name: f"digest of {name}" for name in ALL_BENCHMARKS})
    (model,) = store.client.search_logged_models([store.experiment_id])
    found = {metric.key: (metric.dataset_name, metric.dataset_digest) for metric in model.metrics}
    assert found.keys() == metrics.keys()
    wanted = {
        "oIoU/refcoco_testA": "refcoco_unc",
        "oIoU/refcoco_plus_testA": "refcoco_plus_unc",
        "oIoU/refcocog_umd_test": "refcocog_umd",
        "oIoU/refcocog_google_val": "refcocog_google",
        "mIoU/referit_test": "referit_berkeley",
        "mIoU/refshapes_two_hops_val": "refshapes_two_hops",
    }
    assert {key: found[key] for key in wanted} == {
        key: (name, f"digest of {name}") for key, name in wanted.items()
    }
    assert {key for key, (name, _) in found.items() if name is None} <= {
        f"{measure}/val_mean" for measure in MEASURES
    }


@pytest.mark.faults
@pytest.mark.parametrize("lost", ["finalize_logged_model", "log_batch"])
def test_a_store_that_fails_between_model_and_metrics_gets_one_model(
    store: MlflowStore, trained: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError("the server has ended")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, lost, fail)
        for _ in range(2):
            with pytest.raises(StoreError, match="the server has ended"):
                publish(store, trained)
    run_id = publish(store, trained)
    (model,) = store.client.search_logged_models([store.experiment_id])
    assert model.source_run_id == run_id
    assert str(model.status) in ("READY", "LoggedModelStatus.READY")
    assert {metric.key: metric.value for metric in model.metrics} == METRICS


def test_the_model_and_its_data_are_listed_once(store: MlflowStore, trained: str) -> None:
    run_id = run_of(store, trained).info.run_id
    for _ in range(2):
        publish(store, trained, datasets={"refcoco_unc": "abc"})
    publish(store, trained, OTHER)
    listed = store.client.search_logged_models([store.experiment_id])
    (model,) = [each for each in listed if each.source_run_id == run_id]
    assert {metric.key: metric.value for metric in model.metrics} == METRICS
    assert str(model.status) in ("READY", "LoggedModelStatus.READY")
    inputs = store.client.get_run(run_id).inputs.dataset_inputs
    assert [(each.dataset.name, each.dataset.digest) for each in inputs] == [("refcoco_unc", "abc")]
    assert {tag.key: tag.value for tag in inputs[0].tags} == {"mlflow.data.context": "evaluation"}


def test_a_run_describes_itself_unless_a_person_has(store: MlflowStore, root: Path) -> None:
    metrics = {"mIoU/refcoco_val": 70.123, "oIoU/refcoco_val": 60.0, "P_0.5/refcoco_val": 80.0}
    notes = []
    for said in ({}, {"mlflow.note.content": "mine"}):
        journal = make_journal(root, tags={"run": "joint", **said})
        send(journal, store)
        run_id = publish(store, journal.identity, metrics)
        notes.append(store.client.get_run(run_id).data.tags["mlflow.note.content"])
    assert "| refcoco_val | 70.1 | 60.0 |" in notes[0]
    assert notes[1] == "mine"
    assert "input size" in (store.read_experiment_tag("mlflow.note.content") or "")
