"""A database that is named without MLflow's server: PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from recorded import make_journal, run_of, send
from servers import PASSWORD, free_port, postgres

from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with postgres(tmp_path_factory.mktemp("postgres")) as port:
        yield port


@pytest.mark.parametrize(
    ("password", "database", "reason"),
    [
        ("wrong-word", "mlflow", "password authentication failed"),
        (PASSWORD, "absent", 'database "absent" does not exist'),
    ],
)
def test_a_database_that_refuses(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, database: str, reason: str
) -> None:
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{port}/{database}"
    )
    with pytest.raises(UserError, match=reason) as error:
        MlflowStore(tmp_path, "s2rm")
    assert password not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_database_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+psycopg2://mlflow@127.0.0.1:{free_port()}/mlflow")
    with pytest.raises(UserError, match="does not answer"):
        MlflowStore(tmp_path, "s2rm")


def test_a_driver_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("postgresql", "mysql", "mssql"):  # whose drivers are not installed
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://mlflow@127.0.0.1/mlflow")
        with pytest.raises(
            UserError, match=r"needs a driver that is missing: .* pip install 's2rm\[server\]'"
        ):
            MlflowStore(tmp_path, "s2rm")


def test_it_records_where_it_is_known_where_the_files_belong(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"postgresql+psycopg2://mlflow:{PASSWORD}@127.0.0.1:{port}/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(UserError, match="a database alone does not say where its files belong"):
        MlflowStore(tmp_path, "s2rm")
    files = tmp_path / "files"
    files.mkdir()
    MlflowClient(address).create_experiment("s2rm", files.as_uri())
    store = MlflowStore(tmp_path, "s2rm")
    journal = make_journal(tmp_path)
    assert [send(journal, store), send(journal, store)] == [2, 0]
    assert run_of(store, journal.identity).info.status == "FINISHED"
