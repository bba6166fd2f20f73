"""Which store an address means, and what is no address."""

from pathlib import Path

import pytest

from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.address import find_store, has_store


@pytest.mark.parametrize(
    ("given", "file"),
    [
        (None, "mlflow.db"),
        ("", "mlflow.db"),
        ("  ", "mlflow.db"),
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:///./runs/my.db", "runs/my.db"),
        ("sqlite:///../shared.db", "../shared.db"),
        ("sqlite+pysqlite:///mlflow.db", "mlflow.db"),
        ("SQLITE:///mlflow.db", "mlflow.db"),
        ("sqlite:////srv/team/mlflow.db", "/srv/team/mlflow.db"),
        ("sqlite:///two words.db", "two words.db"),
        ("sqlite:///mlflow.db?timeout=20", "mlflow.db"),
    ],
)
def test_a_file_means_the_same_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, file: str
) -> None:
    if given is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    root, elsewhere = tmp_path / "project", tmp_path / "project/.dvc/tmp/exps/copy"
    elsewhere.mkdir(parents=True)
    for folder in (root, elsewhere):
        monkeypatch.chdir(folder)
        address = find_store(root)
        assert address.database == (root / file).resolve()
        assert address.uri.partition("?")[0] == f"sqlite:///{(root / file).resolve()}"
        assert address.artifacts == (root / file).resolve().parent / "mlartifacts"
    assert address.uri.endswith("?timeout=20") == ("?" in (given or ""))
    assert not has_store(root)


@pytest.mark.parametrize(
    "given",
    [
        "http://localhost:5000",
        "https://mlflow.example.org/team/",
        "http://[::1]:5000",
        "postgresql+psycopg2://mlflow@db/mlflow",
        "mysql://db/mlflow",
        "databricks",
        "databricks://profile",
    ],
)
def test_what_is_not_a_file_is_left_to_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    address = find_store(tmp_path)
    assert (address.uri, address.shown, address.database) == (given, given, None)
    assert has_store(tmp_path)


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_password_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://anna:s3cret@host/place")
    address = find_store(tmp_path)
    assert address.shown == f"{scheme}://anna:***@host/place"
    assert address.secret == "s3cret"
    assert "s3cret" not in repr(address)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("./mlruns", "MLflow keeps no runs in folders any more; write sqlite:///mlflow.db"),
        ("mlruns", "MLflow keeps no runs in folders any more"),
        ("file:mlruns", "MLflow keeps no runs in folders any more"),
        ("file:///srv/mlruns", "MLflow keeps no runs in folders any more"),
        ("/srv/mlflow.db", "MLflow keeps no runs in folders any more"),
        ("localhost:5000", "write http://localhost:5000"),
        ("10.0.0.7:5000/team", "write http://10.0.0.7:5000/team"),
        ("htpp://localhost:5000", "did you mean http"),
        ("sqllite:///mlflow.db", "did you mean sqlite"),
        ("postgres://db/mlflow", "write postgresql://…"),
        ("ftp://host/mlflow", "known are http, https, sqlite"),
        ("http://", "which names no server"),
        ("http:///mlflow", "which names no server"),
        ("http://host:port", "which names no server"),
        ("http://host:99999", "which names no server"),
        ("http://localhost:5000/#/experiments/1", "that of the server, http://localhost:5000"),
        ("http://localhost:5000/?workflowType=x", "that of the server, http://localhost:5000"),
        ("sqlite://mlflow.db", "which names no file: write sqlite:///mlflow.db"),
        ("sqlite:mlflow.db", "which names no file"),
        ("sqlite://", "which names no file"),
        ("sqlite:///", "which names no file"),
        ("sqlite:///:memory:", "which names no file"),
        ('"http://localhost:5000"', "unknown kind of store"),
        ("http://local host:5000", "which names no server"),
        ("sqlite:///~nobody-at-all/mlflow.db", "a file that cannot be opened: Could not determine home"),
        (f"sqlite:///{'x' * 300}.db", "a file that cannot be opened: File name too long"),
    ],
)
def test_what_is_no_store_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, advice: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with pytest.raises(UserError) as error:
        find_store(tmp_path)
    text = str(error.value)
    assert text.startswith(f"MLFLOW_TRACKING_URI is {given!r}")
    assert advice in text
    assert "\n" not in text


@pytest.mark.hostile
@pytest.mark.parametrize(
    "given",
    [
        "http://anna:s3cret@host:port",
        "http://anna:s3cret@host:5000/#/experiments/1",
        "http://anna:s3cret@[::1",
        "postgresql://anna:s3cret@[host/db",
        "http://anna:s3cret@:5000",
    ],
)
def test_a_refusal_shows_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI is") as error:
        find_store(tmp_path)
    assert "s3cret" not in str(error.value)


def test_a_scheme_in_capitals_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "HTTP://localhost:5000")
    assert find_store(tmp_path).uri == "http://localhost:5000"


@pytest.mark.hostile
@pytest.mark.parametrize("name", ["what?", "my%20project", "100 %"])
@pytest.mark.parametrize("given", ["", "sqlite:///mlflow.db"])
def test_a_project_whose_path_no_address_can_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with pytest.raises(UserError, match=r"has a '[?%]' in its path"):
        find_store(tmp_path / name)


@pytest.mark.parametrize("name", ["a #1", "it's", "a@b:c", "ü & [x]", 'a"b\\c'])
def test_a_project_whose_path_is_unusual(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    root.mkdir()
    MlflowStore(root, "s2rm")
    assert (root / "mlflow.db").stat().st_size
    assert MlflowStore(root, "s2rm").experiment_id
    assert [path.name for path in tmp_path.iterdir()] == [name]
