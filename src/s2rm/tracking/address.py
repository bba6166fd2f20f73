"""Find the store that `MLFLOW_TRACKING_URI` names, and refuse what cannot be one."""

import os
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from s2rm.tracking.store_errors import StoreError

VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
SERVERS = ("http", "https")
SCHEMES = (*SERVERS, "sqlite", "postgresql", "mysql", "mssql", "databricks")


@dataclass(frozen=True)
class StoreAddress:
    """Where runs are recorded.

    Attributes:
        uri: as MLflow reads it; a path in it is absolute.
        shown: `uri` without a password, for messages.
        database: the file of an SQLite store; None for any other.
        secret: the password in `uri`, "" if it has none.
    """

    uri: str = field(repr=False)
    shown: str
    database: Path | None = None
    secret: str = field(default="", repr=False)

    @property
    def artifacts(self) -> Path | None:
        """Folder of the files of an SQLite store: beside the database, wherever that is moved."""
        return self.database.with_name(ARTIFACTS) if self.database else None


def find_store(root: Path) -> StoreAddress:
    """Return where runs are recorded: `MLFLOW_TRACKING_URI`, otherwise the project's own SQLite file.

    Args:
        root: folder of the project; a relative path means the same file from wherever it is used.

    Raises:
        StoreError: the variable does not hold an address that can be used.
    """
    uri = os.environ.get(VARIABLE, "").strip()
    if not uri:
        return _sqlite(str(root.resolve() / DATABASE), root)
    scheme = uri.partition(":")[0].partition("+")[0].lower() if ":" in uri else ""
    if uri == "databricks":
        scheme = uri
    if scheme == "sqlite":
        return _sqlite(uri.partition(":")[2], root, given=uri)
    if scheme in SERVERS:
        return _server(uri)
    plugins = {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}
    if scheme in (*SCHEMES, *plugins):
        return _with_secret(uri)
    raise StoreError(f"{VARIABLE} is {uri!r}: {_advise(uri, scheme)}")


def has_store(root: Path) -> bool:
    """Return whether a store exists; to open one that does not would create an empty SQLite file.

    Raises:
        StoreError: as `find_store`.
    """
    database = find_store(root).database
    return database is None or database.exists()


def _sqlite(path: str, root: Path, given: str = "") -> StoreAddress:
    """Return the address of an SQLite file, whose `path` starts with three slashes where it was `given`."""
    query = ""
    if given:
        path, _, query = path.partition("?")
        if not path.startswith("///") or path in ("///", "///:memory:"):
            raise StoreError(
                f"{VARIABLE} is {given!r}, which names no file: write sqlite:///mlflow.db for a file of the "
                "project, sqlite:////folder/mlflow.db for any other"
            )
        path = path.removeprefix("///")
    try:
        database = (root.resolve() / Path(path).expanduser()).resolve()
        database.exists()
    except (OSError, RuntimeError) as error:  # no rights, a name that is too long, nobody's ~home
        reason = error.strerror if isinstance(error, OSError) else error
        named = f"{VARIABLE} is {given!r}" if given else f"the MLflow store is {path}"
        raise StoreError(f"{named}, a file that cannot be opened: {reason}") from None
    for character in "?%":  # SQLAlchemy would open another file
        if character in str(database):
            raise StoreError(
                f"{database} has a {character!r} in its path, which MLflow's addresses cannot have: rename it"
            )
    uri = f"sqlite:///{database}" + (f"?{query}" if query else "")
    return StoreAddress(uri, uri, database)


def _server(uri: str) -> StoreAddress:
    scheme, _, rest = uri.partition(":")
    address = _with_secret(f"{scheme.lower()}:{rest}")  # as MLflow compares it
    parts = urlsplit(address.uri)
    try:
        named = re.fullmatch(r"\S+", parts.hostname or "") and parts.port != 0
    except ValueError:  # not a port
        named = None
    if not named:
        raise StoreError(f"{VARIABLE} is {address.shown!r}, which names no server: write http://HOST:5000")
    if parts.fragment or parts.query:
        raise StoreError(
            f"{VARIABLE} is {address.shown!r}, the address of a page: give that of the server, "
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        )
    return address


def _with_secret(uri: str) -> StoreAddress:
    try:
        secret = urlsplit(uri).password or ""
    except ValueError as error:  # half of an IPv6 address; where a password would be is unknown
        raise StoreError(f"{VARIABLE} is not an address: {error}") from None
    return StoreAddress(uri, uri.replace(f":{secret}@", ":***@") if secret else uri, None, secret)


def _advise(uri: str, scheme: str) -> str:
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri):
        return f"write http://{uri}"
    if scheme == "postgres":
        return "write postgresql://…"
    if scheme == "file" or "://" not in uri:
        return "MLflow keeps no runs in folders any more; write sqlite:///mlflow.db, or a server's http://HOST:5000"
    close = get_close_matches(scheme, SCHEMES, 1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"unknown kind of store {scheme!r}; {meant}known are {', '.join(SCHEMES)}"
