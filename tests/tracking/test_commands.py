"""The store's part of `s2rm check`."""

from pathlib import Path

import pytest
from servers import free_port

from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.commands import check_store


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shortens what MLflow waits for, in the whole process."""
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)


def test_a_store_that_works_and_one_that_is_still_to_be_made(root: Path, tmp_path: Path) -> None:
    check_store(root, "s2rm")
    check_store(tmp_path, "s2rm")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:{port}", "does not answer"),
        ("./mlruns", "MLflow keeps no runs in folders any more"),
        ("htpp://host", "did you mean http"),
        ("sqlite:////no/such/folder/mlflow.db", "there is no folder /no/such/folder"),
        ("sqlite:////proc/mlflow.db", "the MLflow store sqlite:////proc/mlflow.db"),
    ],
)
def test_what_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, reason: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(port=free_port()))
    with pytest.raises(UserError) as error:
        check_store(tmp_path, "s2rm")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_deleted_experiment(root: Path, store: MlflowStore) -> None:
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(UserError, match="was deleted"):
        check_store(root, "s2rm")
