"""A real MLflow store: one run per training, completed by the evaluation that is published on it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.config.params import Params
from s2rm.tracking import EXPERIMENTS, MlflowStore, has_store, tracking_uri

METRICS = {"refcoco_plus_unc/testA/original/oIoU": 41.5, "refcoco_plus_unc/testA/original/P_0.5": 40.0}
OTHER = {**METRICS, "refcoco_plus_unc/testA/original/oIoU": 39.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def store(root: Path) -> MlflowStore:
    return MlflowStore(root, "s2rm")


def train(store: MlflowStore, folder: Path, name: str = "joint") -> str:
    with store.training(name, {"train.seed": 1}, {"run": name}, folder / "run.json") as run_id:
        store.log_metrics(run_id, {"train/loss": 2.0}, step=1)
    return run_id


def publish(store: MlflowStore, run_id: str | None, metrics: dict[str, float] = METRICS, **rest: Any) -> str:
    arguments = {"files": {}, "tags": {}, **rest}
    return store.publish(run_id, "joint", metrics, **arguments)


def points(store: MlflowStore, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client.get_metric_history(run_id, metric)]


def children(store: MlflowStore, run_id: str) -> list[str]:
    return [run.info.run_id for run in store.search({"mlflow.parentRunId": run_id})]


def test_the_store_lies_in_the_project(root: Path, store: MlflowStore, tmp_path: Path) -> None:
    assert tracking_uri(root) == f"sqlite:///{root}/mlflow.db"
    assert (root / "mlflow.db").is_file()
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.name == "s2rm"
    assert experiment.artifact_location == (root / "mlartifacts").as_uri()
    assert MlflowStore(root, "s2rm").experiment_id == store.experiment_id
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
        assert tracking_uri(tmp_path) == "http://elsewhere:5000"


def test_a_training_has_parameters_and_metrics_by_step(
    store: MlflowStore, tmp_path: Path, tiny_params: Callable[..., Params]
) -> None:
    recorded = {**tiny_params().flatten(), "run": "joint", "long": "x" * 7000}
    recorded |= {f"many.{i}": i for i in range(150)}  # more than one request may hold
    with store.training(
        "joint", recorded, {"run": "joint", "dvc.stage": "train"}, tmp_path / "run.json"
    ) as run_id:
        assert store.client.get_run(run_id).info.status == "RUNNING"
        assert json.loads((tmp_path / "run.json").read_text()) == {"run_id": run_id}
        for step in (1, 2, 3):
            store.log_metrics(run_id, {"train/loss": 3 - step, "val/mean/mIoU": step}, step)
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "joint"
    assert run.data.tags["dvc.stage"] == "train"
    assert run.data.params == {name: str(value)[:6000] for name, value in recorded.items()}
    assert run.data.params["fusion.kind"] == "s2rm"
    assert points(store, run_id, "train/loss") == [(1, 2.0), (2, 1.0), (3, 0.0)]
    assert points(store, run_id, "val/mean/mIoU") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_more_metrics_than_one_request_may_hold(store: MlflowStore, tmp_path: Path) -> None:
    run_id = train(store, tmp_path)
    metrics = {f"many/{i}": float(i) for i in range(1100)}
    store.log_metrics(run_id, metrics, step=2)
    assert store.client.get_run(run_id).data.metrics == {**metrics, "train/loss": 2.0}
    store.log_metrics(run_id, {}, step=3)
    assert points(store, run_id, "many/1099") == [(2, 1099.0)]


def test_an_interrupted_training_continues_in_its_run(store: MlflowStore, tmp_path: Path) -> None:
    def training() -> Any:
        return store.training("joint", {"train.seed": 1}, {}, tmp_path / "scratch" / "run.json")

    def interrupt(training: Any, error: BaseException, step: int, status: str) -> str:
        run_id = training.__enter__()
        assert store.client.get_run(run_id).info.status == "RUNNING"
        store.log_metrics(run_id, {"train/loss": 3.0 - step}, step)
        assert not training.__exit__(type(error), error, None)  # the error goes on
        assert store.client.get_run(run_id).info.status == status
        return str(run_id)

    first = interrupt(training(), RuntimeError(), 1, "FAILED")
    second = interrupt(training(), KeyboardInterrupt(), 2, "KILLED")
    with training() as third:
        store.log_metrics(third, {"train/loss": 0.0}, 3)
    assert first == second == third
    assert store.client.get_run(first).info.status == "FINISHED"
    assert points(store, first, "train/loss") == [(1, 2.0), (2, 1.0), (3, 0.0)]


def test_a_run_file_of_another_store_begins_a_new_run(store: MlflowStore, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"run_id": "0" * 32}))
    run_id = train(store, tmp_path)
    assert run_id != "0" * 32
    assert json.loads((tmp_path / "run.json").read_text()) == {"run_id": run_id}
    assert store.client.get_run(run_id).info.status == "FINISHED"


def test_an_evaluation_is_published_once_on_the_training_s_run(store: MlflowStore, tmp_path: Path) -> None:
    run_id = train(store, tmp_path)
    table = tmp_path / "table.md"
    table.write_text("| a |")
    for _ in range(2):
        assert publish(store, run_id, files={"tables": [table]}) == run_id
    for name, value in METRICS.items():
        assert points(store, run_id, name) == [(0, value)]
    assert not children(store, run_id)
    assert points(store, run_id, "train/loss") == [(1, 2.0)]
    assert [file.path for file in store.client.list_artifacts(run_id, "tables")] == ["tables/table.md"]
    assert store.client.get_run(run_id).info.status == "FINISHED"


def test_what_is_recorded_can_be_read_back(root: Path, tmp_path: Path) -> None:
    own = MlflowStore(root, "reading")
    first = train(own, tmp_path)
    scores = tmp_path / "scores.parquet"
    scores.write_bytes(b"scores")
    publish(own, first, files={"results": [scores]}, tags={"run": "joint"})
    second = own.create("later", {"run": "other"})
    found = [(run.run_id, run.title, run.run, run.status, run.published) for run in own.list_runs()]
    assert found == [
        (second, "later", "other", "RUNNING", False),
        (first, "joint", "joint", "FINISHED", True),
    ]
    fetched = own.fetch(first, "results", tmp_path)
    assert fetched is not None
    assert (fetched / "scores.parquet").read_bytes() == b"scores"
    assert own.fetch(second, "results", tmp_path) is None


def test_whether_there_is_a_store(root: Path, store: MlflowStore, tmp_path: Path) -> None:
    assert has_store(root)
    assert not has_store(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
        assert has_store(tmp_path)


def test_another_evaluation_has_exactly_one_child(store: MlflowStore, tmp_path: Path) -> None:
    run_id = train(store, tmp_path)
    assert publish(store, run_id) == run_id
    child = publish(store, run_id, OTHER)
    assert child != run_id
    assert publish(store, run_id, OTHER) == child
    assert publish(store, run_id) == run_id
    assert children(store, run_id) == [child]
    for name in METRICS:
        assert points(store, run_id, name) == [(0, METRICS[name])]
        assert points(store, child, name) == [(0, OTHER[name])]
    assert store.client.get_run(child).info.status == "FINISHED"
    third = publish(store, run_id, {**METRICS, "refcoco_plus_unc/testA/original/oIoU": 1.0})
    assert sorted(children(store, run_id)) == sorted([child, third])


@pytest.mark.parametrize("run_id", ["f" * 32, None])
def test_an_unknown_training_has_one_standalone_run(store: MlflowStore, run_id: str | None) -> None:
    metrics = {**METRICS, "refcoco_unc/val/original/oIoU": 1.0 if run_id else 2.0}
    first = publish(store, run_id, metrics)
    assert publish(store, run_id, metrics) == first
    run = store.client.get_run(first)
    assert run.info.status == "FINISHED"
    assert run.data.tags["trained_run"] == (run_id or "untracked")
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.data.metrics == metrics
    assert all(len(points(store, first, name)) == 1 for name in metrics)
    assert publish(store, run_id, {**metrics, "refcoco_unc/val/original/oIoU": 3.0}) != first


def test_experiments_accumulate_in_a_tag(store: MlflowStore, tmp_path: Path) -> None:
    run_id = train(store, tmp_path)
    for experiment in ("nobal", "again", "nobal", ""):
        publish(store, run_id, tags={"dvc.experiment": experiment} if experiment else {})
    assert store.client.get_run(run_id).data.tags[EXPERIMENTS] == "again,nobal"


def test_names_of_metrics_are_those_that_mlflow_allows(store: MlflowStore, tmp_path: Path) -> None:
    """MLflow refuses + and @, hence refcoco_plus and P_0.5; every name of the evaluation is valid."""
    from s2rm.evaluation.evaluate import PROTOCOLS
    from s2rm.evaluation.metrics import METRICS as MEASURES

    names = [
        f"{benchmark.name}/{split}/{protocol}/{measure}"
        for benchmark in BENCHMARKS.values()
        for split in benchmark.evaluation_splits
        for protocol in PROTOCOLS
        for measure in MEASURES
    ]
    assert not [name for name in names if "+" in name or "@" in name]
    run_id = publish(store, train(store, tmp_path), dict.fromkeys(names, 1.0))
    assert set(store.client.get_run(run_id).data.metrics) >= set(names)


def test_an_experiment_that_another_process_makes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is missing when we look for it, and exists when we create it."""
    first = MlflowStore(tmp_path, "shared")
    look, looks = MlflowClient.get_experiment_by_name, iter([None])
    monkeypatch.setattr(
        MlflowClient, "get_experiment_by_name", lambda client, name: next(looks, look(client, name))
    )
    assert MlflowStore(tmp_path, "shared").experiment_id == first.experiment_id
