"""The archives on this machine: which exist, which are verified, and fetching the missing ones.

<folder>/refcoco.zip                  verified, or placed by hand (then it is verified before it is used)
<folder>/refcoco.zip.verified.json    the size and time of the verified file: no archive is read twice for it
<folder>/refcoco.zip.part, .part.json     the bytes received so far of an unfinished download
<folder>/refcoco.zip.wrong            placed by hand with another checksum: set aside, never deleted
"""

import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout
from tqdm import tqdm

from s2rm.acquire.archives.catalog import Archive, Catalog
from s2rm.acquire.archives.verify import compute_digest, verify_archive
from s2rm.core.errors import UserError
from s2rm.core.files import replace_text
from s2rm.transfer.fetch import FetchError, Mirror, Patience, WrongContentError, fetch, part_of

logger = logging.getLogger(__name__)

PARALLEL = 4  # archives that are fetched at the same time
GIGABYTE = 1e9
RESERVE = 200_000_000  # bytes of the disk that stay free


class _StoppedError(Exception):
    """The main thread was interrupted."""


@dataclass
class ArchiveStore:
    """A folder of archives, filled from the catalog's mirrors."""

    folder: Path
    catalog: Catalog
    offline: bool = False  # whether the network is forbidden
    mirror: str | None = None  # a base address that is tried before the catalog's mirrors
    mirror_token: str | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def from_environment(cls, default: Path, catalog: Catalog, *, offline: bool) -> "ArchiveStore":
        """Create the store that the environment describes.

        $S2RM_ARCHIVES names the folder; $S2RM_MIRROR is a base address that is tried first, and
        $S2RM_MIRROR_TOKEN its secret.

        Args:
            default: the folder where $S2RM_ARCHIVES is not set.
            catalog: the archives and their mirrors.
            offline: whether the network is forbidden.
        """
        return cls(
            Path(os.environ.get("S2RM_ARCHIVES") or default).expanduser(),
            catalog,
            offline=offline,
            mirror=os.environ.get("S2RM_MIRROR") or None,
            mirror_token=os.environ.get("S2RM_MIRROR_TOKEN") or None,
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock, so that clones may share the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("another process is using %s: waiting for it", self.folder)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def path(self, name: str) -> Path:
        """Return where an archive is, or will be."""
        return self.folder / name

    def fetch(self, names: Iterable[str], kept: int = 0) -> None:
        """Fetch and verify the archives that are missing; those that arrive are kept when another one fails.

        Args:
            names: the archives that are needed.
            kept: about how many bytes will be unpacked on the same disk.

        Raises:
            UserError: the disk is too small; no mirror serves an archive (the message has each mirror's
                failure and the path to place it by hand); or, offline, one is missing.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [name for name in dict.fromkeys(names) if not self._ready(name)]
        self._check_disk(missing, kept)
        if not missing:
            return
        if self.offline:
            lines = [self._explain(name) for name in missing]
            raise UserError("offline, and these archives are missing:\n" + "\n".join(lines))
        failures = self._fetch_all(missing)
        if failures:
            lines = [self._explain(name, error.attempts) for name, error in failures.items()]
            raise UserError(
                f"{len(failures)} of {len(missing)} archives could not be fetched (the bytes received are "
                "kept; `dvc repro` continues from there):\n" + "\n".join(lines)
            )

    def remove_fetched(self, name: str) -> None:
        """Remove an archive that was fetched; one that was placed by hand stays."""
        if self._record(name).get("fetched"):
            self.path(name).unlink()
            self._record_path(name).unlink()

    def checksum(self, name: str) -> str | None:
        """Return `<algorithm>:<value>`, or None before an archive without a checksum is pinned."""
        known = self.catalog.archive(name).checksum
        return ":".join(known) if known else None

    def _ready(self, name: str) -> bool:
        """Return whether the archive exists and is verified; one that was placed by hand is verified now."""
        path, archive = self.path(name), self.catalog.archive(name)
        if not path.is_file():
            return False
        stat, known = path.stat(), self._record(name)
        stamp = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        if archive.checksum and known == {
            **stamp,
            "checksum": self.checksum(name),
            "fetched": known.get("fetched"),
        }:
            return True
        logger.info("verifying %s", path)
        try:
            verify_archive(path, archive)
        except WrongContentError as error:
            wrong = path.with_name(f"{name}.wrong")
            path.replace(wrong)
            logger.warning("%s is not the right archive (%s): set aside as %s", path, error, wrong)
            return False
        self._accept(name, fetched=False)
        return True

    def _accept(self, name: str, *, fetched: bool) -> None:
        path = self.path(name)
        if self.catalog.archive(name).checksum is None:
            self.catalog.pin(name, compute_digest(path, "sha256"), path.stat().st_size)
            logger.info("%s: pinned in %s; commit it", name, self.catalog.lock_path)
        stat = path.stat()
        record = {
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "checksum": self.checksum(name),
            "fetched": fetched,
        }
        replace_text(self._record_path(name), json.dumps(record) + "\n")

    def _fetch_all(self, names: list[str]) -> dict[str, FetchError]:
        stop = threading.Event()
        with ThreadPoolExecutor(PARALLEL) as pool:
            futures = {name: pool.submit(self._fetch_one, name, stop) for name in names}
            try:
                errors = {name: future.exception() for name, future in futures.items()}
            except BaseException:  # Ctrl-C: the threads end with their next bytes
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        failures = {name: error for name, error in errors.items() if isinstance(error, FetchError)}
        for error in errors.values():
            if error is not None and not isinstance(error, FetchError):
                raise error
        return failures

    def _fetch_one(self, name: str, stop: threading.Event) -> None:
        archive = self.catalog.archive(name)
        with _bar(name, archive.size) as bar:

            def progress(count: int) -> None:
                if stop.is_set():
                    raise _StoppedError
                bar.update(count)

            served = fetch(
                self._mirrors(name, archive),
                self.path(name),
                size=archive.size,
                check=lambda path: verify_archive(path, archive),
                pinned=archive.checksum is not None,
                progress=progress,
                patience=self.patience,
            )
        self._accept(name, fetched=True)
        logger.info("%s: verified, from %s", name, served.shown)

    def _mirrors(self, name: str, archive: Archive) -> list[Mirror]:
        first = []
        if self.mirror:
            first = [Mirror(f"{self.mirror.rstrip('/')}/{quote(name)}", self.mirror_token)]
        return first + [
            Mirror(mirror.url, os.environ.get(mirror.token) if mirror.token else None)
            for mirror in archive.mirrors
        ]

    def _check_disk(self, missing: list[str], kept: int) -> None:
        """Log how much space is needed, and refuse where the disk is too small."""
        sizes = {name: self.catalog.archive(name).size for name in missing}
        parts = {name: part_of(self.path(name)) for name in missing}
        present = sum(part.stat().st_size for part in parts.values() if part.is_file())
        to_come = max(0, sum(size or 0 for size in sizes.values()) - present)
        unknown = [name for name, size in sizes.items() if size is None]
        free = shutil.disk_usage(self.folder).free
        if missing:
            logger.info(
                "to fetch: %s%s; space for the images: about %.1f GB; free in %s: %.1f GB",
                f"{to_come / GIGABYTE:.2f} GB in {len(missing)} archives",
                f" (the size of {', '.join(unknown)} is not known)" if unknown else "",
                kept / GIGABYTE,
                self.folder,
                free / GIGABYTE,
            )
        require_space(self.folder, to_come + kept)

    def _explain(self, name: str, attempts: Iterable[tuple[str, str]] = ()) -> str:
        """Return what to do about an archive: each mirror's failure, and the path to place it at."""
        archive = self.catalog.archive(name)
        size = f"{archive.size:,} bytes" if archive.size else "size not known"
        checksum = self.checksum(name) or "no checksum known, pinned when it arrives"
        tried = [f"    {url}: {reason}" for url, reason in attempts]
        return "\n".join(
            [
                f"  {name} ({size}, {checksum})",
                *tried,
                f"    place it by hand as {self.path(name).absolute()} and run `dvc repro` again",
            ]
        )

    def _record_path(self, name: str) -> Path:
        return self.folder / f"{name}.verified.json"

    def _record(self, name: str) -> dict[str, object]:
        try:
            record = json.loads(self._record_path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def require_space(folder: Path, need: int) -> None:
    """Check that the disk of `folder` has `need` bytes, and RESERVE more.

    Raises:
        UserError: it has fewer.
    """
    free = shutil.disk_usage(folder).free
    if need and free < need + RESERVE:
        raise UserError(
            f"the disk of {folder} is too small: {(need + RESERVE) / GIGABYTE:.1f} GB are needed, "
            f"{free / GIGABYTE:.1f} GB are free; make room, or set S2RM_ARCHIVES to another disk's folder"
        )


def _bar(name: str, size: int | None) -> "tqdm[None]":
    """Return a display of rate and time left: a bar on a terminal, a line per half minute in a log."""
    shared = {"desc": name, "total": size, "unit": "B", "unit_scale": True}
    if sys.stderr.isatty():
        return tqdm(**shared, leave=False)
    form = "{desc}: {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left\n"
    return tqdm(**shared, mininterval=30, miniters=1, bar_format=form)
