"""Look after the SQLite file of a local store, which may have been moved, copied or damaged.

MLflow writes absolute paths of artifacts into its database. Ours lie in mlartifacts/ beside the database;
where the recorded paths point to another place, the project was moved or copied, and they are rewritten.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from s2rm.tracking.address import ARTIFACTS, StoreAddress
from s2rm.tracking.store_errors import UNREACHABLE, StoreError, explain

BUSY = 5.0  # seconds to wait for another process that writes
LONGEST_OPENING = 60.0  # seconds to wait for another process that opens it, or makes it


@contextmanager
def opened_database(address: StoreAddress) -> Iterator[None]:
    """Hold the database for one process that opens it; check it before, put its paths right.

    Processes that use a new SQLite file for the first time together corrupt its schema: one at a time.

    Raises:
        StoreError: it is not a database of MLflow, or cannot be written.
    """
    database = address.database
    if database is None:
        yield
        return
    if not database.parent.is_dir():
        raise StoreError(
            f"the MLflow store {address.shown}: there is no folder {database.parent}", UNREACHABLE
        )
    if database.is_dir():
        raise StoreError(f"the MLflow store {address.shown} is a folder: name a file", UNREACHABLE)
    try:
        lock = database.with_name(f"{database.name}.lock")
        lock.touch(0o664)  # fails where nothing can be written; there FileLock would wait for ever
        with FileLock(lock, timeout=LONGEST_OPENING, mode=0o664):
            _check(database, address.shown)
            yield
    except (OSError, sqlite3.Error) as error:
        raise explain(error, address.shown) from error


def local_path(location: str) -> Path | None:
    """Return the folder that a recorded location of artifacts names; None if it is not a local one."""
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        return Path(unquote(parts.path) if parts.scheme else location)
    return None


def _check(database: Path, shown: str) -> None:
    if not database.exists() or not database.stat().st_size:
        return  # MLflow makes it
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=BUSY)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if not tables:
            return
        if not {"experiments", "runs"} <= tables:
            raise StoreError(f"the MLflow store {shown} is a database, but not of MLflow: name another file")
        _check_version(connection, shown)
        connection.execute("BEGIN IMMEDIATE")  # fails where it cannot be written, or another process writes
        _place_artifacts(connection, database.with_name(ARTIFACTS))
        connection.commit()


def _check_version(connection: sqlite3.Connection, shown: str) -> None:
    """Refuse a database of a newer MLflow: of this one MLflow says that it is older."""
    package = find_spec("mlflow")
    known = Path(str(package.origin)).parent / "store" / "db_migrations" / "versions" if package else Path()
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    if known.is_dir() and revision and not any(known.glob(f"{revision}_*.py")):
        raise StoreError(
            f"the MLflow store {shown} was written by a newer MLflow: install that version, or name another "
            "store",
            UNREACHABLE,
        )


def _place_artifacts(connection: sqlite3.Connection, folder: Path) -> None:
    """Let the location of each of our experiments be `folder`; also of those that never had a file."""
    experiments = connection.execute(
        "SELECT experiment_id, artifact_location, EXISTS (SELECT 1 FROM runs WHERE "
        "runs.experiment_id = experiments.experiment_id) FROM experiments"
    ).fetchall()
    uri = folder.as_uri()
    for experiment, location, used in experiments:
        before = local_path(location or "")
        if before is None or location == uri:
            continue
        if before.name != ARTIFACTS and (used or before.is_dir()):  # somebody else's choice
            continue
        runs = connection.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", [experiment])
        for (run,) in runs.fetchall():
            _bring(before / run, folder / run)
            connection.execute(
                "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", [f"{uri}/{run}/artifacts", run]
            )
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", [uri, experiment]
        )


def _bring(source: Path, target: Path) -> None:
    """Copy the files of a run that are not here yet: the database was copied without them."""
    if source.is_dir() and not target.exists():
        shutil.copytree(source, target)
