"""Verifies a complete archive: its size, its checksum, or, where no checksum is known, its form."""

import hashlib
import json
from pathlib import Path

from s2rm.acquire.archives.catalog import Archive
from s2rm.acquire.archives.unpack import read_members
from s2rm.core.errors import UserError
from s2rm.transfer.fetch import WrongContentError


def verify_archive(path: Path, archive: Archive) -> None:
    """Check that a file is the archive that the catalog describes.

    Without a known checksum, it must be JSON or an archive that can be read to its end.

    Raises:
        WrongContentError: it is not.
    """
    size = path.stat().st_size
    if archive.size is not None and size != archive.size:
        raise WrongContentError(f"it has {size:,} bytes, {archive.size:,} are expected")
    if archive.checksum:
        algorithm, expected = archive.checksum
        found = compute_digest(path, algorithm)
        if found != expected:
            raise WrongContentError(f"its {algorithm} is {found}, {expected} is expected")
    else:
        _check_form(path)


def compute_digest(path: Path, algorithm: str) -> str:
    """Return the hexadecimal digest of a file; `algorithm` is a name that hashlib knows."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _check_form(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    try:
        if start[:1] in (b"{", b"["):
            json.loads(path.read_bytes())
        else:
            for _ in read_members(path, lambda name: True):  # reading compares the members' checksums
                pass
    except (ValueError, RecursionError):
        raise WrongContentError("it is neither JSON nor an archive") from None
    except UserError as error:
        raise WrongContentError(str(error)) from None
