"""A store that is made once: MLflow takes a second for each new database."""

import shutil
from pathlib import Path

import pytest

from s2rm.tracking import MlflowStore


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a store without runs; not to be changed."""
    root = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        MlflowStore(root, "s2rm")
    return root


@pytest.fixture
def root(empty_store: Path, tmp_path: Path) -> Path:
    """A project with a store of its own, a copy."""
    root = tmp_path / "project"
    shutil.copytree(empty_store, root)
    return root


@pytest.fixture
def store(root: Path) -> MlflowStore:
    return MlflowStore(root, "s2rm")
