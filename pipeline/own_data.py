"""Digests of folders elsewhere, by which DVC notices a change: one's own data, one's own language model.

DVC hashes what lies in the project. A data folder (data.source=folder) lies elsewhere, may hold 20,000
images, and can be named by an environment variable, which DVC does not see.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from s2rm.acquire.hub.weights import LANGUAGE_FILES
from s2rm.acquire.own_folder import list_sources


def digest_own_data(folder: Path, benchmarks: Sequence[str]) -> str:
    """Return a digest of names, sizes and times of change of all files that the download stage may read.

    It contains no path, so the same data at another place, copied with their times, are the same data. A
    folder that is missing has a digest as well: the download stage says what is wrong.
    """
    return _digest(
        folder,
        [
            path
            for place in list_sources(folder, benchmarks)
            for path in ([place, *place.rglob("*")] if place.is_dir() else [place])
        ],
    )


def digest_language_model(folder: Path) -> str:
    """Return a digest, as that of one's own data, of the files of a language model that are taken."""
    return _digest(folder, [folder / name for name in LANGUAGE_FILES])


def _digest(folder: Path, paths: Sequence[Path]) -> str:
    found = []
    for path in paths:
        if path.is_file():
            status = path.stat()
            found.append((path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()[:16]
