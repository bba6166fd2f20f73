"""A digest of one's own data (data.source=folder), by which DVC notices a change.

DVC hashes what lies in the project. This folder lies elsewhere, may hold 20,000 images, and can be named by
an environment variable, which DVC does not see.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from s2rm.acquire.own_folder import list_sources


def digest_own_data(folder: Path, benchmarks: Sequence[str]) -> str:
    """Return a digest of names, sizes and times of change of all files that the download stage may read.

    It contains no path, so the same data at another place, copied with their times, are the same data. A
    folder that is missing has a digest as well: the download stage says what is wrong.
    """
    found = []
    for place in list_sources(folder, benchmarks):
        for path in [place, *place.rglob("*")] if place.is_dir() else [place]:
            if path.is_file():
                status = path.stat()
                found.append((path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()[:16]
