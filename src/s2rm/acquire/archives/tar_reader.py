"""Reads the members of an untrusted tar; `s2rm.acquire.archives.unpack` describes the guards."""

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from s2rm.acquire.archives.member_check import MemberCheck, not_an_archive, reading

LONGEST_HEADER = 1 << 14  # bytes, extra headers included; tarfile's time grows with the square
PIECE = 1 << 20  # bytes that are read at a time
BLOCK = 512  # bytes of a tar's block


class _MeteredFile(io.BufferedReader):
    """A file for `tarfile`, which itself reads headers of any length; `read` returns at most `left` bytes."""

    left = LONGEST_HEADER
    last = b""  # the bytes of the latest `read`

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise ValueError("an endless header")
        self.left -= size
        self.last = super().read(size)
        return self.last

    def take(self, size: int) -> bytes:
        return super().read(size)


def read_tar(
    check: MemberCheck, opener: Callable[[Path], io.FileIO | gzip.GzipFile], total: int
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each wanted member in the archive's order.

    Args:
        check: what a member must satisfy; it names the archive.
        opener: opens the archive's uncompressed content.
        total: the most unpacked bytes of the whole archive.

    Raises:
        UserError: as for `unpack.read_members`.
    """
    with reading(check.path):
        file = _MeteredFile(opener(check.path))
    with file:
        archive = _open(check.path, file)
        while info := _next_header(check.path, archive, file):
            name = check.admit(info.name, info.size, _find_fault(info, archive), directory=info.isdir())
            if archive.offset > total:
                raise check.distrust(f"it unpacks to more than {total:,} bytes")
            if name is not None:
                with reading(check.path):
                    file.seek(info.offset_data)
                    content = file.take(info.size)
                    if len(content) < info.size:
                        raise EOFError("it ends too early")
                yield name, content
        with reading(check.path):
            # A broken header looks like the end. After the true end are only zeros, then gzip's checksum.
            piece = file.last
            if len(piece) < BLOCK:
                raise EOFError("it ends too early")
            while piece:
                if piece.strip(b"\0"):
                    raise ValueError("a header is broken")
                if file.tell() > total:
                    raise check.distrust(f"it unpacks to more than {total:,} bytes")
                piece = file.take(PIECE)


def _open(path: Path, file: _MeteredFile) -> tarfile.TarFile:
    with reading(path):
        try:
            return tarfile.open(fileobj=file, mode="r:", encoding="utf-8")
        except tarfile.ReadError:
            raise not_an_archive(path) from None


def _next_header(path: Path, archive: tarfile.TarFile, file: _MeteredFile) -> tarfile.TarInfo | None:
    with reading(path):
        file.left = LONGEST_HEADER
        info = archive.next()
        archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them
        return info


def _find_fault(info: tarfile.TarInfo, archive: tarfile.TarFile) -> str | None:
    if info.issparse():
        return "is a sparse file"
    if info.issym() or info.islnk():
        return "is a link"
    if not info.isreg() and not info.isdir():
        return "is neither a file nor a directory"
    if info.isreg() and info.offset_data + info.size > archive.offset:  # a global header sets its size
        return "overlaps what follows it"
    return None
