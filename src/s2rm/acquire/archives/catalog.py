"""The catalog of archives (archives.yaml) and the lock beside it (archives.lock), typed and validated.

Where the catalog has no checksum, the first download is pinned: its sha256 and size are written to the lock,
which belongs in git, and are enforced from then on. So are the commits of pretrained weights.
"""

import json
import threading
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from s2rm.config.benchmarks import get_benchmark
from s2rm.config.params import BenchmarkName, Section
from s2rm.core.errors import UserError
from s2rm.core.files import read_yaml, replace_text

Route = Literal["refer", "queries"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]  # a file name, without folders


class CatalogMirror(Section):
    """An address of an archive; `token` names the environment variable that holds its secret."""

    url: str
    token: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("url")
    @classmethod
    def _check(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the mirror {url[:80]!r} is not an http(s) URL")
        if parts.username or parts.password:
            raise ValueError(
                f"a mirror at {parts.hostname} holds credentials: write {{url: …, token: NAME}}, "
                "where NAME is an environment variable"
            )
        return url


class Archive(Section):
    """One archive: where it is, how it is verified, and what its use requires."""

    mirrors: list[CatalogMirror] = Field(min_length=1)
    size: Annotated[int, Field(ge=1)] | None = None  # bytes
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    kept: Annotated[int, Field(ge=0)] = 0  # about how many bytes its unpacked images take
    needs: list[str] = Field(min_length=1)  # the members that are used
    source: str  # where these facts are from
    licence: str
    citation: str

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Algorithm and value, or None where none is known."""
        if self.sha256:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 else None


class Files(Section):
    """The names of the archives of one benchmark by one route."""

    annotations: list[Name] = Field(min_length=1)
    images: Name
    masks: Name | None = None

    @property
    def all(self) -> list[str]:
        """All names, in the order annotations, images, masks."""
        return [*self.annotations, self.images, *([self.masks] if self.masks else [])]


class CatalogWeights(Section):
    """One repository of pretrained weights."""

    revision: Commit | None
    licence: str
    citation: str


class _Content(Section):
    archives: dict[Name, Archive]
    routes: dict[BenchmarkName, dict[Route, Files]]
    weights: dict[str, CatalogWeights]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for benchmark, routes in self.routes.items():
            for route, files in routes.items():
                for name in files.all:
                    if name not in self.archives:
                        raise ValueError(f"routes.{benchmark}.{route} names {name}, which archives lacks")
                if route == "refer":
                    wanted = {f"refs({get_benchmark(benchmark).split_by}).p", "instances.json"}
                    listed = {need for name in files.annotations for need in self.archives[name].needs}
                    if wanted - listed:
                        raise ValueError(
                            f"routes.{benchmark}.refer: the needs of {', '.join(files.annotations)} lack "
                            f"{', '.join(sorted(wanted - listed))}"
                        )
        return self


class Catalog:
    """The content of archives.yaml and what archives.lock has pinned. Pinning is thread-safe."""

    def __init__(self, path: Path, content: _Content, lock: dict[str, dict[str, Any]]) -> None:
        """Combine what `load_catalog` has read.

        Args:
            path: the catalog's file.
            content: its content.
            lock: the content of the lock: section → name → what is pinned.
        """
        self.path, self._content, self._lock = path, content, lock
        self._pinning = threading.Lock()

    @property
    def lock_path(self) -> Path:
        """The lock's file."""
        return self.path.with_suffix(".lock")

    def archive(self, name: str) -> Archive:
        """Return an archive; where the catalog has no checksum, with the pinned one."""
        archive = self._content.archives[name]
        pinned = self._lock["archives"].get(name)
        return archive if archive.checksum or not pinned else archive.model_copy(update=pinned)

    def licence(self, name: str) -> str:
        """Return the licence of an archive; in the catalog, "as NAME" refers to that archive's licence."""
        licence = self._content.archives[name].licence
        other = self._content.archives.get(licence.removeprefix("as "))
        return other.licence if other else licence

    def files(self, benchmark: str, route: Route) -> Files:
        """Return the names of the archives of a benchmark by one route.

        Raises:
            UserError: the catalog has no such route.
        """
        routes = self._content.routes.get(benchmark, {})  # type: ignore[call-overload]
        if route not in routes:
            raise UserError(
                f"{self.path} has no route {route!r} for {benchmark}: add it under routes.{benchmark}"
            )
        files: Files = routes[route]
        return files

    def pin(self, name: str, sha256: str, size: int) -> None:
        """Write an archive's checksum and size (bytes) to the lock."""
        self._write("archives", name, {"sha256": sha256, "size": size})

    def revisions(self) -> dict[str, str | None]:
        """Return repository of weights → commit, None where none is known yet."""
        known = {name: weights.revision for name, weights in self._content.weights.items()}
        return {**self._lock["weights"], **{name: revision for name, revision in known.items() if revision}}

    def pin_revision(self, repository: str, commit: str) -> None:
        """Write the commit of a repository of weights to the lock."""
        self._write("weights", repository, commit)

    def _write(self, section: str, name: str, value: Any) -> None:
        with self._pinning:
            self._lock[section][name] = value
            text = json.dumps(self._lock, indent=2, sort_keys=True) + "\n"
            replace_text(self.lock_path, text)


def choose_route(benchmark: str, referit: Route) -> Route:
    """Return the route by which a benchmark is fetched: `referit` for ReferIt, else "refer"."""
    return referit if benchmark == "referit_berkeley" else "refer"


def load_catalog(path: Path) -> Catalog:
    """Read and validate a catalog and the lock beside it, if there is one.

    Raises:
        UserError: the catalog is missing, or it or its lock is not valid; the message is one line.
    """
    tree = read_yaml(path, "the catalog")
    lock = path.with_suffix(".lock")
    pinned = read_yaml(lock, "the lock") if lock.exists() else {}
    if set(pinned) - {"archives", "weights"} or not all(isinstance(part, dict) for part in pinned.values()):
        raise UserError(f"{lock} is not a valid lock file: restore it with `git checkout`")
    try:
        content = _Content.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
    return Catalog(path, content, {"archives": {}, "weights": {}, **pinned})
