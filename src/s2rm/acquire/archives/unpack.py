"""Reads chosen members of an untrusted zip or tar archive, by the standard library's readers, with guards.

Nothing is written, least of all under the archive's names. Every member is checked, wanted or not, and a
single bad one rejects the archive. The guards look for what the readers themselves let pass: members that
overlap or hold more than they declare (zip), extra headers of any length, and a broken header taken for the
end (tar).

https://docs.python.org/3/library/zipfile.html#decompression-pitfalls
https://docs.python.org/3/library/tarfile.html#tarfile-extraction-filter
"""

import gzip
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from s2rm.acquire.archives.member_check import LARGEST, MemberCheck, not_an_archive, reading
from s2rm.acquire.archives.tar_reader import read_tar
from s2rm.acquire.archives.zip_reader import list_zip_sizes, read_zip

TOTAL = 1 << 38  # bytes


def read_members(
    path: Path, wanted: Callable[[str], bool], *, largest: int = LARGEST, total: int = TOTAL
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each wanted member: a zip's in the order of names, a tar's in its own.

    A zip's directory is checked completely before anything is yielded. A tar is read once, front to back, so
    a fault at its end is found at its end: use what was read only when the iterator is exhausted. Unwanted
    members of a zip are not unpacked, so their checksums are not compared; a plain tar has no checksums of
    content. Memory grows with the largest size that a wanted member declares and with a zip's directory: an
    archive that is nothing but a directory takes about ten times its own size.

    Args:
        path: a zip (members stored or deflated), tar or tar.gz, recognised by its content.
        wanted: called once per file with its name, which has `/` between parts and no part that is empty or
            `.`; a byte of a tar's name that is not UTF-8 is a lone surrogate. Directories are left out.
        largest: the most bytes that a member may declare, wanted or not.
        total: the most unpacked bytes of all wanted members of a zip, or of a whole tar.

    Raises:
        UserError: the file cannot be read, is not such an archive, is corrupt or truncated, or contains what
            no genuine archive needs: names that are absolute, have `..` or control characters or occur twice;
            links; devices; members that are sparse, encrypted, overlap or have another size than they
            declare; or more of anything than the limits allow.
    """
    check = MemberCheck(path, wanted, largest)
    start = _read_start(path)
    if start == b"PK":
        yield from read_zip(check, total)
    elif start == b"\x1f\x8b":
        yield from read_tar(check, gzip.GzipFile, total)
    elif start.strip(b"\0"):  # tarfile takes zeros for an archive without members
        yield from read_tar(check, io.FileIO, total)
    else:
        raise not_an_archive(path)


def member_sizes(path: Path, wanted: Callable[[str], bool]) -> dict[str, int]:
    """Return name → unpacked bytes of a zip's wanted members; {} of a tar, which has no directory.

    Args:
        path: the archive.
        wanted: as for `read_members`.

    Raises:
        UserError: as for `read_members`; all members of a zip are checked.
    """
    if _read_start(path) != b"PK":
        return {}
    return list_zip_sizes(MemberCheck(path, wanted, LARGEST), TOTAL)


def _read_start(path: Path) -> bytes:
    with reading(path), path.open("rb") as file:
        return file.read(2)
