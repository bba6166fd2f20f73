"""A real MLflow store: what is recorded can be read back, and what it lacks is said in one line."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli
from recorded import make_journal, send

from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.mlflow_store import MOST_RUNS
from s2rm.tracking.publish import publish


def test_the_store_lies_in_the_project(root: Path, store: MlflowStore) -> None:
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.name == "s2rm"
    assert experiment.artifact_location == (root / "mlartifacts").as_uri()
    assert MlflowStore(root, "s2rm").experiment_id == store.experiment_id


def test_what_is_recorded_can_be_read_back(root: Path, store: MlflowStore, tmp_path: Path) -> None:
    journal = make_journal(root)
    send(journal, store)
    scores = tmp_path / "scores.parquet"
    scores.write_bytes(b"scores")
    first = publish(store, journal.identity, "joint", {"a": 1.0}, {"results": [scores]}, {"run": "joint"})
    second = store.create("later", {"run": "other"})
    found = [(run.run_id, run.title, run.run, run.status, run.published) for run in store.list_runs()]
    assert found == [
        (second, "later", "other", "RUNNING", False),
        (first, "joint", "joint", "FINISHED", True),
    ]
    fetched = store.fetch(first, "results", tmp_path)
    assert fetched is not None
    assert (fetched / "scores.parquet").read_bytes() == b"scores"
    assert store.fetch(second, "results", tmp_path) is None
    assert MOST_RUNS > 1000, "more than MLflow returns by default"


def test_an_experiment_that_another_process_makes_first(
    root: Path, store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is missing when we look for it, and exists when we create it."""
    look, looks = MlflowClient.get_experiment_by_name, iter([None])
    monkeypatch.setattr(
        MlflowClient, "get_experiment_by_name", lambda client, name: next(looks, look(client, name))
    )
    assert MlflowStore(root, "s2rm").experiment_id == store.experiment_id


def test_a_deleted_experiment_and_the_command_that_restores_it(
    root: Path, store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(
        UserError, match="the MLflow experiment 's2rm' was deleted: name another one"
    ) as error:
        MlflowStore(root, "s2rm")
    assert "\n" not in str(error.value)
    command = str(error.value).partition("or restore it: ")[2]
    assert command.startswith(f"MLFLOW_TRACKING_URI='sqlite:///{root}/mlflow.db' mlflow experiments restore")
    variable, program, *arguments = shlex.split(command)
    assert program == "mlflow"
    monkeypatch.setenv(*variable.split("=", 1))
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert MlflowStore(root, "s2rm").experiment_id == store.experiment_id


@pytest.mark.parametrize("name", ["", "x" * 501])
def test_a_name_that_an_experiment_cannot_have(root: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"tracking\.experiment is '") as error:
        MlflowStore(root, name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["a/b", "Ünïcode", "two words", "it's", 'quo"ted', "x" * 500, "%s", "Default"]
)
def test_names_that_experiments_can_have(root: Path, name: str) -> None:
    assert MlflowStore(root, name).experiment_id == MlflowStore(root, name).experiment_id


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///nowhere/at/all", "a folder that this machine lacks"),
        ("/nowhere/at/all/7", "a folder that this machine lacks"),
        ("mlflow-artifacts:/7", "was made by a server, which keeps its files"),
    ],
)
def test_files_at_a_place_out_of_reach(root: Path, store: MlflowStore, location: str, reason: str) -> None:
    store.client.create_experiment("foreign", location)
    store.client.create_run(store.client.get_experiment_by_name("foreign").experiment_id)
    with pytest.raises(UserError, match=reason) as error:
        MlflowStore(root, "foreign")
    assert "\n" not in str(error.value)


def test_another_local_folder_is_used_as_it_is(root: Path, store: MlflowStore, tmp_path: Path) -> None:
    own = tmp_path / "own place"
    own.mkdir()
    store.client.create_experiment("own", own.as_uri())
    foreign = MlflowStore(root, "own")
    run_id = foreign.create("first", {})
    foreign.log_json(run_id, {"a": 1}, "a.json")
    assert (own / run_id / "artifacts/a.json").is_file()
    assert [file.path for file in foreign.client.list_artifacts(run_id)] == ["a.json"]
