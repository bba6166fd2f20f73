"""Local stores that are moved, copied, mounted elsewhere, shared or damaged."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from recorded import make_journal, run_of, send

from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.publish import publish


def record(root: Path, file: Path, experiment: str = "s2rm") -> str:
    """Record a training and its evaluation; returns the id of the training."""
    store = MlflowStore(root, experiment)
    journal = make_journal(root)
    send(journal, store)
    publish(store, journal.identity, "joint", {"a": 1.0}, {"results": [file]}, {"run": "joint"})
    return journal.identity


def read(root: Path, identity: str, tmp_path: Path) -> str:
    """The recorded file, by us; MLflow itself must find the same."""
    store = MlflowStore(root, "s2rm")
    run = run_of(store, identity)
    fetched = store.fetch(run.info.run_id, "results", tmp_path)
    assert fetched is not None
    text = (fetched / "scores.txt").read_text()
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir(exist_ok=True)
    again = store.client.download_artifacts(run.info.run_id, "results/scores.txt", str(downloaded))
    assert Path(again).read_text() == text
    return text


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    file = tmp_path / "scores.txt"
    file.write_text("first")
    return file


def move(source: Path, target: Path) -> None:
    source.rename(target)


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)


def copy_preserving(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


def archive(source: Path, target: Path) -> None:
    target.mkdir()
    subprocess.run(f"tar -C '{source}' -c . | tar -C '{target}' -x", shell=True, check=True)
    shutil.rmtree(source)


def reach_by_link(source: Path, target: Path) -> None:
    """As another mount point that shows the same folder."""
    move(source, target.with_name("disk"))
    target.symlink_to(target.with_name("disk"))


@pytest.mark.parametrize("way", [move, copy, copy_preserving, archive, reach_by_link])
@pytest.mark.parametrize("name", ["elsewhere", "other machine/s2rm"])
def test_a_project_at_another_place(
    root: Path, scores: Path, tmp_path: Path, way: Callable[[Path, Path], None], name: str
) -> None:
    first = record(root, scores)
    target = tmp_path / name
    target.parent.mkdir(exist_ok=True)
    way(root, target)
    before = listing(root) if root.exists() else None
    assert read(target, first, tmp_path) == "first"
    scores.write_text("second")
    second = record(target, scores)
    assert read(target, second, tmp_path) == "second"
    assert read(target, first, tmp_path) == "first"
    assert (listing(root) if root.exists() else None) == before, "the old place is not touched"
    location = MlflowStore(target, "s2rm").client.get_experiment_by_name("s2rm").artifact_location
    assert location == (target.resolve() / "mlartifacts").as_uri()


def test_a_database_that_was_copied_without_its_files_brings_them(
    root: Path, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the store that an earlier version had beside the project and not beside the database."""
    identity = record(root, scores)
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.copy(root / "mlflow.db", shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}/mlflow.db")
    before = listing(root)
    assert read(root, identity, tmp_path) == "first"
    assert listing(root).keys() == before.keys()


def test_two_clones_share_a_store(
    root: Path, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.move(root / "mlflow.db", shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}/mlflow.db")
    clones = [tmp_path / "one", tmp_path / "two"]
    for clone in clones:
        clone.mkdir()
    recorded = [record(clone, scores) for clone in clones]
    shutil.rmtree(clones[0])
    assert [read(clones[1], identity, tmp_path) for identity in recorded] == ["first", "first"]
    assert not (clones[1] / "mlartifacts").exists()
    assert len(list((shared / "mlartifacts").iterdir())) == 2


def test_experiments_of_others_stay_as_they_are(root: Path, scores: Path, tmp_path: Path) -> None:
    record(root, scores)
    client = MlflowStore(root, "s2rm").client
    own = tmp_path / "their place"
    own.mkdir()
    for name, location in (("theirs", own.as_uri()), ("bucket", "s3://bucket/mlartifacts")):
        client.create_run(client.create_experiment(name, location))
    root.rename(tmp_path / "moved")
    client = MlflowStore(tmp_path / "moved", "s2rm").client
    assert client.get_experiment_by_name("theirs").artifact_location == own.as_uri()
    assert client.get_experiment_by_name("bucket").artifact_location == "s3://bucket/mlartifacts"


@pytest.mark.slow
def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert MlflowStore(tmp_path, "s2rm").list_runs() == []


def be_text(database: Path) -> None:
    database.write_text("not a database, but long enough to look like one" * 100)


def be_cut(database: Path) -> None:
    os.truncate(database, 5000)


def be_overwritten(database: Path) -> None:
    with database.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8000)


def be_a_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


def be_of_something_else(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE notes (text)")


def be_newer(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        connection.commit()


def be_newer_and_lack_a_table(database: Path) -> None:
    be_newer(database)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE assessments")


def be_without_its_folder(database: Path) -> None:
    shutil.rmtree(database.parent)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (be_text, "is not a database: if it was one, move the file away, then `s2rm track sync` records"),
        (be_cut, "is corrupt"),
        (be_overwritten, "is corrupt"),
        (be_a_folder, "is a folder: name a file"),
        (be_of_something_else, "is a database, but not of MLflow"),
        (be_newer, "was written by a newer MLflow"),
        (be_newer_and_lack_a_table, "was written by a newer MLflow"),
        (be_without_its_folder, "there is no folder"),
    ],
)
def test_a_database_that_cannot_be_used(root: Path, spoil: Callable[[Path], None], reason: str) -> None:
    spoil(root / "mlflow.db")
    with pytest.raises(UserError, match=reason) as error:
        MlflowStore(root, "s2rm")
    assert str(root / "mlflow.db") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.hostile
def test_a_database_that_another_process_writes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2rm.tracking.database.BUSY", 0.1)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="is locked by another process"):
            MlflowStore(root, "s2rm")
    MlflowStore(root, "s2rm")


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """For root, who may write everywhere, as another user who can reach `folder`."""
    if os.geteuid():
        yield
        return
    for parent in folder.parents:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.hostile
def test_a_folder_that_cannot_be_written(root: Path) -> None:
    root.chmod(0o555)
    (root / "mlflow.db").chmod(0o444)
    with as_nobody(root), pytest.raises(UserError, match="is read-only: make it writable"):
        MlflowStore(root, "s2rm")


@pytest.mark.slow
def test_a_database_of_an_older_mlflow_is_brought_up_to_date(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    address = f"sqlite:///{old}/mlflow.db"
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    Base.metadata.create_all(create_sqlalchemy_engine(address))
    command.upgrade(_get_alembic_config(address), "2d6e25af4d3e")
    assert MlflowStore(old, "s2rm").list_runs() == []
