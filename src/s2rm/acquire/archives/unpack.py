"""Reading chosen members of a zip or tar archive that nobody vouches for, by the standard readers, guarded.

Nothing is written, least of all by the archive's names. Every member is checked, wanted or not, and one that
is amiss condemns the archive. What the readers themselves let pass is looked for here: members that overlap
or hold more than they declare (zip), extra headers of any length and a broken header taken for the end (tar).

https://docs.python.org/3/library/zipfile.html#decompression-pitfalls
https://docs.python.org/3/library/tarfile.html#tarfile-extraction-filter
"""

import copy
import gzip
import io
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from s2rm.core.errors import UserError

LARGEST = 1 << 30  # bytes
TOTAL = 1 << 38  # bytes
MOST_NAMES = 1 << 28  # bytes that the names may take in memory, each a hundred besides its characters
LONGEST_HEADER = 1 << 14  # bytes of a tar's, extra ones included; tarfile's time grows with the square
PIECE = 1 << 20  # bytes
BLOCK = 512  # bytes of a tar
LOCAL_HEADER = 30  # bytes of a zip's member before its name
ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13  # flags of a zip's member

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")


def read_members(
    path: Path, wanted: Callable[[str], bool], *, largest: int = LARGEST, total: int = TOTAL
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each wanted member: a zip's in the order of names, a tar's in its own.

    A zip's directory is checked whole before anything is given. A tar is read once, front to back, so what
    is amiss at its end is found at its end: publish what was read only when the iterator is exhausted.
    What is not wanted is not unpacked from a zip, so its checksum is not compared; a plain tar has no
    checksums of content. Memory grows with the largest size that a wanted member declares and with a zip's
    directory: if that is all there is, it takes some ten times as much as the archive itself.

    Args:
        path: zip (members stored or deflated), tar or tar.gz, told by its content.
        wanted: asked once for each file, by its name with `/` between parts and no part empty or `.`;
            a byte of a tar's that is no UTF-8 is a lone surrogate. Directories are left out.
        largest: bytes that a member may declare, wanted or not.
        total: bytes that the wanted members of a zip, or all of a tar, may have unpacked.

    `UserError` where the file cannot be read, is no such archive, is corrupt or truncated, or has what no
    genuine one needs: names that are absolute, have `..` or control characters or are there twice, links,
    devices, members that are sparse, encrypted, overlap or have another size than they declare, or more of
    anything than is admitted.
    """
    roll = _Roll(path, wanted, largest)
    start = _start(path)
    if start == b"PK":
        yield from _read_zip(roll, total)
    elif start == b"\x1f\x8b":
        yield from _read_tar(roll, gzip.GzipFile, total)
    elif start.strip(b"\0"):  # tarfile takes zeros for an archive without members
        yield from _read_tar(roll, io.FileIO, total)
    else:
        raise _no_archive(path)


def member_sizes(path: Path, wanted: Callable[[str], bool]) -> dict[str, int]:
    """Name → bytes unpacked of a zip's wanted members, all checked; of a tar, which has no directory, {}."""
    if _start(path) != b"PK":
        return {}
    with _open_zip(path) as archive:
        infos = _list_zip(archive, _Roll(path, wanted, LARGEST), TOTAL)
    return {name: info.file_size for name, info in infos.items()}


def _start(path: Path) -> bytes:
    with _reading(path), path.open("rb") as file:
        return file.read(2)


class _Roll:
    """The members of an archive so far."""

    def __init__(self, path: Path, wanted: Callable[[str], bool], largest: int) -> None:
        self.path, self._wanted, self._largest = path, wanted, largest
        self._names: set[str] = set()
        self._room = MOST_NAMES

    def admit(self, stated: str, size: int, fault: str | None, *, directory: bool) -> str | None:
        """The plain name if it is a wanted file; `UserError` where there is a fault, this one or another."""
        name = "/".join(part for part in re.split(r"[/\\]", stated) if part not in ("", "."))
        fault = fault or self._find_fault(stated, name, size, directory)
        if fault:
            raise self.distrust(fault, stated)
        if directory:
            return None
        self._names.add(name)
        self._room -= len(name) + 100
        if self._room < 0:
            raise self.distrust(f"it has {len(self._names):,} members or more, too many")
        return name if self._wanted(name) else None

    def _find_fault(self, stated: str, name: str, size: int, directory: bool) -> str | None:
        if _CONTROL.search(stated):
            return "has a control character in its name"
        if _ABSOLUTE.match(stated) or _ABSOLUTE.match(name):
            return "has an absolute path"
        if ".." in name.split("/"):
            return "leads out of its folder"
        if not 0 <= size <= self._largest:
            return f"declares {size:,} bytes, {self._largest:,} are admitted"
        if directory:
            return "is a directory with content" if size else None
        if not name:
            return "has no name"
        return "is there twice" if name in self._names else None

    def distrust(self, reason: str, stated: str | None = None) -> UserError:
        subject = "" if stated is None else f"member {stated[:100]!a} "
        return UserError(f"{self.path}: {subject}{reason}; the file is not to be trusted")


# Zip.


def _read_zip(roll: _Roll, total: int) -> Iterator[tuple[str, bytes]]:
    with _open_zip(roll.path) as archive:
        for name, info in sorted(_list_zip(archive, roll, total).items()):
            with _reading(roll.path):
                content = _read_a_byte_further(archive, info)
            if len(content) != info.file_size:
                raise roll.distrust(f"does not hold the {info.file_size:,} bytes that it declares", name)
            yield name, content


def _open_zip(path: Path) -> zipfile.ZipFile:
    with _reading(path):
        return zipfile.ZipFile(path)


def _list_zip(archive: zipfile.ZipFile, roll: _Roll, total: int) -> dict[str, zipfile.ZipInfo]:
    """The wanted files by name; all members are checked."""
    found = {}
    for info in archive.infolist():
        stated = info.orig_filename  # the other one ends before a NUL
        directory = stated.endswith("/")
        name = roll.admit(stated, info.file_size, _find_zip_fault(info, directory), directory=directory)
        if name is not None:
            found[name] = info
    _check_overlap(archive, roll)
    if sum(info.file_size for info in found.values()) > total:
        raise roll.distrust(f"its members declare more than {total:,} bytes")
    return found


def _find_zip_fault(info: zipfile.ZipInfo, directory: bool) -> str | None:
    if b"PK\1\2" in info.extra + info.comment:
        return "swallows what follows it in the directory"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by a method that is not supported ({info.compress_type})"
    mode = stat.S_IFMT(info.external_attr >> 16)  # 0 where the packer knew no modes
    if mode == stat.S_IFLNK:
        return "is a symbolic link"
    if mode not in (0, stat.S_IFDIR if directory else stat.S_IFREG):
        return "is neither a file nor a directory"
    return None


def _check_overlap(archive: zipfile.ZipFile, roll: _Roll) -> None:
    """Each member has its own bytes of the file: else a few would unpack to any number.

    https://www.bamsoftware.com/hacks/zipbomb/
    """
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    ends = [info.header_offset for info in infos[1:]] + [archive.start_dir]
    for info, end in zip(infos, ends, strict=False):  # a zip without members has an end
        if info.header_offset + LOCAL_HEADER + info.compress_size > end:
            raise roll.distrust("overlaps what follows it", info.orig_filename)


def _read_a_byte_further(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The content; where there is more than is declared one byte of it, which the library would cut off."""
    longer = copy.copy(info)
    longer.file_size += 1
    with archive.open(longer) as member:
        return member.read(longer.file_size)


# Tar.


class _Metered(io.BufferedReader):
    """A file for `tarfile`, which by itself reads headers of any length: it is given `left` bytes."""

    left = LONGEST_HEADER
    last = b""  # what was given last

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise ValueError("a header without end")
        self.left -= size
        self.last = super().read(size)
        return self.last

    def take(self, size: int) -> bytes:
        return super().read(size)


def _read_tar(
    roll: _Roll, opener: Callable[[Path], io.FileIO | gzip.GzipFile], total: int
) -> Iterator[tuple[str, bytes]]:
    with _reading(roll.path):
        file = _Metered(opener(roll.path))
    with file:
        archive = _open_tar(roll.path, file)
        while info := _next_header(roll.path, archive, file):
            name = roll.admit(info.name, info.size, _find_tar_fault(info, archive), directory=info.isdir())
            if archive.offset > total:
                raise roll.distrust(f"it unpacks to more than {total:,} bytes")
            if name is not None:
                with _reading(roll.path):
                    file.seek(info.offset_data)
                    content = file.take(info.size)
                    if len(content) < info.size:
                        raise EOFError("it ends too early")
                yield name, content
        with _reading(roll.path):
            # What ended it may be a broken header. Behind the true end are zeros alone, then gzip's checksum.
            piece = file.last
            if len(piece) < BLOCK:
                raise EOFError("it ends too early")
            while piece:
                if piece.strip(b"\0"):
                    raise ValueError("a header is broken")
                if file.tell() > total:
                    raise roll.distrust(f"it unpacks to more than {total:,} bytes")
                piece = file.take(PIECE)


def _open_tar(path: Path, file: _Metered) -> tarfile.TarFile:
    with _reading(path):
        try:
            return tarfile.open(fileobj=file, mode="r:", encoding="utf-8")
        except tarfile.ReadError:
            raise _no_archive(path) from None


def _next_header(path: Path, archive: tarfile.TarFile, file: _Metered) -> tarfile.TarInfo | None:
    with _reading(path):
        file.left = LONGEST_HEADER
        info = archive.next()
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        return info


def _find_tar_fault(info: tarfile.TarInfo, archive: tarfile.TarFile) -> str | None:
    if info.issparse():
        return "is a sparse file"
    if info.issym() or info.islnk():
        return "is a link"
    if not info.isreg() and not info.isdir():
        return "is neither a file nor a directory"
    if info.isreg() and info.offset_data + info.size > archive.offset:  # its size is set for all members
        return "overlaps what follows it"
    return None


# Errors.


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever the readers make of a broken file becomes one line."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        struct.error,
        EOFError,
        ValueError,
        LookupError,
        OverflowError,
        NotImplementedError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or "it ends too early"
        raise UserError(f"{path} is corrupt or truncated ({reason}): fetch it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _no_archive(path: Path) -> UserError:
    return UserError(f"{path} is no zip, tar or tar.gz archive: fetch it again")
