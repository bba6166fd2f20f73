"""Reading chosen members of a zip or tar archive that nobody vouches for.

Nothing is written, least of all by the archive's names. Every member is checked, wanted or not, and one that
is amiss condemns the archive. The standard readers are not asked: `zipfile` builds a directory of any length
and silently cuts off what a member has beyond its declared size; `tarfile` loads headers of any length and
takes a broken header for the end of the archive.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (zip)
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html (tar: ustar and pax)
https://www.gnu.org/software/tar/manual/html_node/Standard.html (tar: GNU)
"""

import bz2
import gzip
import io
import lzma
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from s2rm.errors import UserError

MOST_MEMBERS = 1_000_000
MOST_NAMES = 1 << 28  # bytes of a zip's directory, characters of a tar's names
LONGEST_HEADER = 1 << 20  # bytes of a tar's extra header: a name, and attributes that are not used
XZ_MEMORY = 1 << 27  # bytes; what `xz -9` packs takes half of it, a hostile file may ask for 4 GB
PIECE = 1 << 18  # bytes that are read or unpacked at a time

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")


def read_members(
    path: Path, wanted: Callable[[str], bool], *, largest: int = 1 << 30, total: int = 1 << 38
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each wanted member: a zip's in the order of names, a tar's in its own.

    A zip's directory is checked whole before anything is given. A tar is read once, front to back, so what
    is amiss at its end is found at its end: publish what was read only when the iterator is exhausted.
    What is not wanted is not unpacked from a zip, so its checksum is not compared; a plain tar has no
    checksums of content. Whether all is there that should be, only the caller knows. Memory grows with
    the largest wanted member, and a zip's by the size of its directory and half a kilobyte a member.

    Args:
        path: zip (members stored or deflated) or tar (plain, gzip, bzip2 or xz), told by its content.
        wanted: asked once for each file, by its name with `/` between parts and no part empty or `.`;
            a byte of a tar that is no UTF-8 is a lone surrogate. Directories are left out.
        largest: bytes that a member may declare, wanted or not.
        total: bytes that the wanted members of a zip, or all of a tar, may have unpacked.

    `UserError` where the file cannot be read, is no such archive, is corrupt or truncated, or has what no
    genuine one needs: names that are absolute, have `..` or control characters or are there twice, links,
    devices, members that are sparse, encrypted, overlap or have another size than they declare, or more of
    anything than is admitted.
    """
    for name, _, read in _walk(path, wanted, largest, total):
        yield name, read()


def member_sizes(
    path: Path, wanted: Callable[[str], bool], *, largest: int = 1 << 30, total: int = 1 << 38
) -> dict[str, int]:
    """Name → declared size (bytes) of each wanted member, with the checks and errors of `read_members`.

    Cheap for a zip, whose directory has it; a tar is read through for it.
    """
    return {name: size for name, size, _ in _walk(path, wanted, largest, total)}


def _walk(
    path: Path, wanted: Callable[[str], bool], largest: int, total: int
) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and reader of each wanted member; it is read before the next is asked for, or not at all."""
    roll = _Roll(path, wanted, largest)
    with _reading(path):
        file = path.open("rb")
    with file:
        with _reading(path):
            start = file.read(BLOCK)
            file.seek(0)
        if start.startswith((b"PK\3\4", END_MAGIC)):
            for name, entry, end in _list_zip(path, file, roll, total):
                yield name, entry.size, partial(_read_entry, path, file, entry, end)
        else:
            stream = _Stream(path, _unpacked(path, file, start), total)
            for name, size in _list_tar(path, stream, roll):
                yield name, size, partial(stream.take, size)


class _Roll:
    """The members of an archive so far."""

    def __init__(self, path: Path, wanted: Callable[[str], bool], largest: int) -> None:
        self._path, self._wanted, self._largest = path, wanted, largest
        self._count = self._characters = 0
        self._names: set[str] = set()

    def admit(self, stated: str, size: int, fault: str | None, *, directory: bool) -> str | None:
        """The plain name if it is a wanted file; `UserError` where there is a fault, this one or another."""
        self._count += 1
        self._characters += len(stated)
        if self._count > MOST_MEMBERS or self._characters > MOST_NAMES:
            raise _distrust(self._path, f"it has more than {MOST_MEMBERS:,} members, or endless names")
        name = "/".join(part for part in stated.split("/") if part not in ("", "."))
        fault = fault or self._find_fault(stated, name, size, directory)
        if fault:
            raise _distrust(self._path, fault, stated)
        if directory:
            return None
        self._names.add(name)
        return name if self._wanted(name) else None

    def _find_fault(self, stated: str, name: str, size: int, directory: bool) -> str | None:
        if _CONTROL.search(stated):
            return "has a control character in its name"
        if _ABSOLUTE.match(stated) or _ABSOLUTE.match(name):
            return "has an absolute path"
        if ".." in re.split(r"[/\\]", stated):
            return "leads out of its folder"
        if size < 0:
            return "declares no size"
        if size > self._largest:
            return f"declares {size:,} bytes, {self._largest:,} are admitted"
        if directory:
            return "is a directory with content" if size else None
        if not name:
            return "has no name"
        return "is there twice" if name in self._names else None


# Zip. The records, as far as they are used; x skips the rest.
END_MAGIC = b"PK\5\6"
END = struct.Struct("<4s6xHIIH")  # magic, members, size and place of the directory, length of the comment
LOCATOR = struct.Struct("<4s4xQ4x")  # magic, place of END64
END64 = struct.Struct("<4s28xQQQ")  # magic, members, size and place of the directory
# Magic, flags, method, CRC, packed size, size, lengths of name, extra and comment, attributes, place.
ENTRY = struct.Struct("<4s4xHH4xIIIHHH4xII")
LOCAL = struct.Struct("<4s2xH18xHH")  # magic, flags, lengths of name and extra
WIDE = 0xFFFFFFFF  # stands for a number that is in the extra field, of 64 bits

STORED, DEFLATED = 0, 8
ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
PATCHED = 1 << 5
UTF8 = 1 << 11


class _Entry(NamedTuple):
    """A member by a zip's directory."""

    stated: str
    flags: int
    method: int
    crc: int
    packed: int  # bytes
    size: int  # bytes
    attributes: int
    place: int  # of its local header
    reach: int  # where its data ends at the least: the local header may be longer


def _list_zip(path: Path, file: BinaryIO, roll: _Roll, total: int) -> list[tuple[str, _Entry, int]]:
    """The wanted files by name, each with the place where the next member begins; all are checked."""
    directory, start, count = _read_directory(path, file)
    found, spans = [], []
    for entry in _parse_directory(path, directory):
        is_directory = entry.stated.endswith("/")
        name = roll.admit(entry.stated, entry.size, _find_zip_fault(entry), directory=is_directory)
        spans.append((entry.place, entry.reach, entry.stated))
        if name is not None:
            found.append((name, entry))
    if len(spans) != count and len(spans) & 0xFFFF != count:  # some packers count in 16 bits
        raise _corrupt(path, f"its directory has {len(spans):,} members, not {count:,}")
    spans.sort()
    spans.append((start, start, ""))
    for (_, reach, stated), (place, _, _) in pairwise(spans):
        if reach > place:
            raise _distrust(path, "overlaps what follows it", stated)
    if sum(entry.size for _, entry in found) > total:
        raise _distrust(path, f"its members declare more than {total:,} bytes")
    ends = {place: following for (place, _, _), (following, _, _) in pairwise(spans)}
    return [(name, entry, ends[entry.place]) for name, entry in sorted(found)]


def _read_directory(path: Path, file: BinaryIO) -> tuple[bytes, int, int]:
    """A zip's directory, its place, and how many members it should have."""
    with _reading(path):
        length = file.seek(0, io.SEEK_END)
        file.seek(max(0, length - END.size - 0xFFFF - LOCATOR.size))
        tail = file.read()
        end = tail.rfind(END_MAGIC)
        if end < 0:
            raise _corrupt(path, "a zip without its end")
        _, count, size, start, comment = END.unpack_from(tail, end)
        if end + END.size + comment != len(tail):
            raise _corrupt(path, "something follows the end of the zip")
        place = length - len(tail) + end
        if tail[:end][-LOCATOR.size :].startswith(b"PK\6\7"):
            _, place = LOCATOR.unpack_from(tail, end - LOCATOR.size)
            file.seek(min(place, length))
            magic, count, size, start = END64.unpack(file.read(END64.size))
            if magic != b"PK\6\6":
                raise _corrupt(path, "a zip without its end of 64 bits")
        if start + size != place:
            raise _corrupt(path, "the directory of the zip is not where it should be")
        if count > MOST_MEMBERS or size > MOST_NAMES:
            raise _distrust(path, f"it declares {count:,} members in a directory of {size:,} bytes")
        file.seek(start)
        return file.read(size), start, count


def _parse_directory(path: Path, directory: bytes) -> Iterator[_Entry]:
    position = 0
    while position < len(directory):
        with _reading(path):
            magic, flags, method, crc, packed, size, name, extra, comment, attributes, place = (
                ENTRY.unpack_from(directory, position)
            )
            position += ENTRY.size
            stated = _decode(directory[position : position + name], flags)
            position += name
            size, packed, place = _widen(directory[position : position + extra], size, packed, place)
            position += extra + comment
            if magic != b"PK\1\2" or position > len(directory):
                raise _corrupt(path, "the directory of the zip is broken")
        reach = place + LOCAL.size + name + packed
        yield _Entry(stated, flags, method, crc, packed, size, attributes, place, reach)


def _widen(extra: bytes, *numbers: int) -> Iterator[int]:
    """The numbers, those that are WIDE from the part of the extra field that has tag 1."""
    wide: Iterator[int] = iter(())
    position = 0 if WIDE in numbers else len(extra)
    while position < len(extra):
        tag, length = struct.unpack_from("<HH", extra, position)
        position += 4
        if tag == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, position))
            break
        position += length
    return (next(wide, number) if number == WIDE else number for number in numbers)


def _decode(name: bytes, flags: int) -> str:
    return name.decode("utf-8" if flags & UTF8 else "cp437")


def _find_zip_fault(entry: _Entry) -> str | None:
    if entry.flags & ENCRYPTED:
        return "is encrypted"
    if entry.method not in (STORED, DEFLATED) or entry.flags & PATCHED:
        return f"is compressed by a method that is not supported ({entry.method})"
    if entry.method == STORED and entry.packed != entry.size:
        return f"holds {entry.packed:,} bytes and declares {entry.size:,}"
    mode = stat.S_IFMT(entry.attributes >> 16)  # 0 where the packer knew no modes
    if mode == stat.S_IFLNK:
        return "is a symbolic link"
    if mode not in (0, stat.S_IFDIR if entry.stated.endswith("/") else stat.S_IFREG):
        return "is neither a file nor a directory"
    return None


def _read_entry(path: Path, file: BinaryIO, entry: _Entry, end: int) -> bytes:
    """The content; at most one byte beyond the declared size is unpacked."""
    unpacked = io.BytesIO()
    with _reading(path):
        file.seek(entry.place)
        magic, flags, name, extra = LOCAL.unpack(file.read(LOCAL.size))
        if magic != b"PK\3\4" or _decode(file.read(name), flags) != entry.stated:
            raise _corrupt(path, f"{_shown(entry.stated)} is not where the directory has it")
        start = entry.place + LOCAL.size + name + extra
        if start + entry.packed > end:
            raise _distrust(path, "overlaps what follows it", entry.stated)
        file.seek(start)
        pieces = _cut(file, entry.packed)
        for piece in pieces if entry.method == STORED else _inflate(pieces, entry.size + 1):
            unpacked.write(piece)
    content = unpacked.getvalue()
    if len(content) != entry.size:
        more = "more" if len(content) > entry.size else "less"
        raise _distrust(path, f"holds {more} than the {entry.size:,} bytes that it declares", entry.stated)
    if zlib.crc32(content) != entry.crc:
        raise _corrupt(path, f"the checksum of {_shown(entry.stated)} is wrong")
    return content


def _cut(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (piece := file.read(min(PIECE, size))):
        size -= len(piece)
        yield piece


def _inflate(pieces: Iterator[bytes], room: int) -> Iterator[bytes]:
    """What deflated pieces unpack to, at most `room` bytes."""
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    while room and not decoder.eof:
        data = decoder.unconsumed_tail or next(pieces, b"")
        piece = decoder.decompress(data, min(PIECE, room))
        if not data and not piece:
            raise EOFError("a member ends too early")
        room -= len(piece)
        yield piece


# Tar.
BLOCK = 512  # bytes
PLAIN_TYPES = (b"0", b"\0", b"7")
FAULTY_TYPES = {
    b"1": "is a hard link",
    b"2": "is a symbolic link",
    b"3": "is a device",
    b"4": "is a device",
    b"6": "is a named pipe",
    b"K": "is a link",  # that needs a header of its own for its target
    b"S": "is a sparse file",
}


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Stream:
    """The unpacked bytes of a tar, front to back, `most` of them."""

    def __init__(self, path: Path, source: _Source, most: int) -> None:
        self._path, self._source, self._most = path, source, most
        self.position = 0

    def take(self, size: int) -> bytes:
        content = io.BytesIO()
        for piece in self._cut(size):
            content.write(piece)
        return content.getvalue()

    def skip(self, size: int) -> None:
        for _ in self._cut(size):
            pass

    def drain(self) -> None:
        """Reads to the end, where the compression has its checksum."""
        while self._read(PIECE):
            pass

    def _cut(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._read(min(PIECE, size))
            if not piece:
                raise _corrupt(self._path, "it ends too early")
            size -= len(piece)
            yield piece

    def _read(self, size: int) -> bytes:
        with _reading(self._path):
            piece = self._source.read(size)
        self.position += len(piece)
        if self.position > self._most:
            raise _distrust(self._path, f"it unpacks to more than {self._most:,} bytes")
        return piece


class _Unxz:
    """One xz stream in bounded memory; `lzma.open` takes what the file asks for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        piece = b""
        while not piece and not self._decoder.eof:
            data = self._file.read(PIECE) if self._decoder.needs_input else b""
            if not data and self._decoder.needs_input:
                raise EOFError("it ends too early")
            piece = self._decoder.decompress(data, size)
        if not piece and (self._decoder.unused_data or self._file.read(1)):
            raise lzma.LZMAError("something follows the end of the xz stream")
        return piece


def _unpacked(path: Path, file: BinaryIO, start: bytes) -> _Source:
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if start.startswith(b"\xfd7zXZ\0"):
        return _Unxz(file)
    if _is_header(start):
        return file
    raise _no_archive(path, start)


def _list_tar(path: Path, stream: _Stream, roll: _Roll) -> Iterator[tuple[str, int]]:
    """Name and size of each wanted file, while the stream stands where its content begins."""
    changes: dict[bytes, bytes] = {}  # what extra headers say of the next member
    while any(block := stream.take(BLOCK)):
        if not _is_header(block):
            first = stream.position == BLOCK
            raise _no_archive(path, block) if first else _corrupt(path, "a header is broken")
        kind, size = block[156:157], _number(block[124:136])
        if kind in (b"L", b"g", b"x"):
            if not 0 <= size <= LONGEST_HEADER:
                raise _distrust(path, f"a header declares {size:,} bytes, {LONGEST_HEADER:,} are admitted")
            content = stream.take(size)
            stream.skip(-size % BLOCK)
            changes |= {b"path": content.rstrip(b"\0")} if kind == b"L" else _parse_pax(path, content)
            if kind == b"g" and changes:
                raise _distrust(path, "a header sets the name or size of all members")
            continue
        stated = changes.get(b"path", _own_name(block)).decode("utf-8", "surrogateescape")
        if b"size" in changes:
            size = int(changes[b"size"]) if re.fullmatch(rb"[0-9]{1,20}", changes[b"size"]) else -1
        directory = kind == b"5" or (kind in PLAIN_TYPES and stated.endswith("/"))
        fault = None
        if b"GNU.sparse" in changes:
            fault = FAULTY_TYPES[b"S"]
        elif kind != b"5" and kind not in PLAIN_TYPES:
            fault = FAULTY_TYPES.get(kind, f"is of the type {kind!r}, neither file nor directory")
        changes.clear()
        name = roll.admit(stated, size, fault, directory=directory)
        end = stream.position + size + -size % BLOCK
        if name is not None:
            yield name, size
        stream.skip(end - stream.position)
    if changes:
        raise _corrupt(path, "it ends too early")
    stream.drain()


def _own_name(block: bytes) -> bytes:
    name = block[:100].split(b"\0")[0]
    prefix = block[345:500].split(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _parse_pax(path: Path, content: bytes) -> dict[bytes, bytes]:
    """Of the records `<length> <key>=<value>` those that matter; GNU.sparse stands for all of that kind."""
    found = {}
    position = 0
    while position < len(content):
        length, space, _ = content[position : position + 8].partition(b" ")
        end = position + int(length) if length.isdigit() else 0
        record = content[position + len(length + space) : end]
        if not record.endswith(b"\n") or end > len(content):
            raise _corrupt(path, "an extra header is broken")
        key, _, value = record[:-1].partition(b"=")
        key = b"GNU.sparse" if key.startswith(b"GNU.sparse.") else key
        if key in (b"path", b"size", b"GNU.sparse"):
            found[key] = value
        position = end
    return found


def _is_header(block: bytes) -> bool:
    """By its checksum, the sum of all bytes, its own eight taken for spaces."""
    return _number(block[148:156]) == sum(block[:148]) + 8 * 32 + sum(block[156:])


def _number(field: bytes) -> int:
    """An octal number, or GNU's binary one; -1 where it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:])
    digits = field.split(b"\0")[0].strip(b" ")
    return -1 if digits.strip(b"01234567") else int(digits or b"0", 8)


# Errors.


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever the libraries make of a broken file becomes one line."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        raise _corrupt(path, str(error)) from None  # gzip's and bz2's own
    except (EOFError, UnicodeDecodeError, struct.error, zlib.error, lzma.LZMAError) as error:
        raise _corrupt(path, str(error)) from None


def _no_archive(path: Path, start: bytes) -> UserError:
    found = f"begins with {start[:24]!r}" if start else "is empty"
    return UserError(f"{path} is no zip or tar archive, it {found}: fetch it again")


def _corrupt(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is corrupt or truncated ({reason}): fetch it again")


def _distrust(path: Path, reason: str, member: str | None = None) -> UserError:
    subject = "" if member is None else f"member {_shown(member)} "
    return UserError(f"{path}: {subject}{reason}; the file is not to be trusted")


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 100 else name[:100] + "…")
