"""Unpacking: genuine archives of every form come through, hostile and broken ones end in a `UserError`."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2rm.acquire.archives import member_check, tar_reader
from s2rm.acquire.archives.unpack import member_sizes, read_members
from s2rm.core.errors import UserError

pytestmark = pytest.mark.timeout(120)

FILES = {
    "refcoco/refs(unc).p": bytes(range(256)) * 5,
    "refcoco/naïve.json": b'{"images": []}',
    "refcoco/empty": b"",
    f"{'a_long_folder_name/' * 8}deep.jpg": os.urandom(3_000),
    "zeros": bytes(3 * tar_reader.PIECE + 17),
    "block": bytes(tar_reader.BLOCK),
}
SMALL = {"a/one.txt": b"one " * 50, "two.bin": bytes(range(200))}
NOT_TRUSTED = "; do not trust this file$"
CORRUPT = r"is corrupt or truncated \(.*\): fetch it again$"


def everything(name: str) -> bool:
    return True


def write(folder: Path, data: bytes) -> Path:
    path = folder / "archive"
    path.write_bytes(data)
    return path


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for folder in ("refcoco/", "./", "./refcoco/"):
            archive.writestr(zipfile.ZipInfo(folder), b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_tar(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    folders = [tar_member(name, b"", type=tarfile.DIRTYPE) for name in ("./", "refcoco/", "refcoco")]
    return pack_tar(*folders, *(tar_member(name, content) for name, content in files.items()), form=form)


def tar_member(name: str, content: bytes = b"content", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def pack_tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar_block(name: bytes, size: bytes = b"0", kind: bytes = b"0", mapped: bytes = b"\0") -> bytes:
    """A header with any fields, its checksum right."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[156:157], block[482:483] = kind, mapped  # whether a sparse file's map goes on behind it
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    return bytes(block)


def extra_header(kind: bytes, record: bytes) -> bytes:
    return tar_block(b"extra", b"%o" % len(record), kind) + record.ljust(-(-len(record) // 512) * 512, b"\0")


@dataclass
class Member:
    """One of a zip, with any lie in its directory."""

    name: bytes
    content: bytes = b"content" * 10
    method: int = 8
    flags: int = 0
    mode: int = 0o100644
    size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None

    @property
    def data(self) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(self.content) + packer.flush() if self.method == 8 else self.content

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        fields = (b"PK\3\4", 20, self.flags, self.method, 0, 0, 0, 0, 0, len(name), 0)
        return struct.pack("<4s5H3I2H", *fields) + name

    def entry(self, place: int, packed: int | None = None) -> bytes:
        packed = len(self.data) if packed is None else packed
        size = len(self.content) if self.size is None else self.size
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        fields = (b"PK\1\2", 0x314, 20, self.flags, self.method, 0, 0, crc, packed, size, len(self.name))
        rest = struct.pack("<4H2I", 0, 0, 0, 0, self.mode << 16, place)
        return struct.pack("<4s6H3IH", *fields) + rest + self.name


def build_zip(*members: Member) -> bytes:
    body, directory = bytearray(), bytearray()
    for member in members:
        directory += member.entry(len(body))
        body += member.local() + member.data
    return end_zip(body, directory, len(members))


def end_zip(body: bytes, directory: bytes, count: int) -> bytes:
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(directory), len(body), 0
    )
    return bytes(body + directory + end)


@contextmanager
def little_memory(most: int) -> Iterator[None]:
    """Fails where more than `most` bytes are allocated at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def refuse(path: Path, message: str, **limits: int) -> list[str]:
    """Checks that reading ends in a `UserError` of one line; gives the names that were read before."""
    read, before = [], sorted(path.parent.rglob("*"))
    members = read_members(path, everything, **limits)
    with pytest.raises(UserError, match=message) as caught:
        read.extend(name for name, _ in members)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.parent.rglob("*")) == before
    return read


# What is genuine comes through.

ZIPS = {"stored": make_zip(FILES, zipfile.ZIP_STORED), "deflated": make_zip(FILES)}
TARS = {
    "pax": make_tar(FILES, tarfile.PAX_FORMAT),
    "gnu": make_tar(FILES, tarfile.GNU_FORMAT),
    "ustar": make_tar(FILES, tarfile.USTAR_FORMAT),
    "gz": gzip.compress(make_tar(FILES)),
    "two gz streams": gzip.compress(make_tar(FILES)[:5_000]) + gzip.compress(make_tar(FILES)[5_000:]),
}


@pytest.mark.parametrize("form", [*ZIPS, *TARS])
def test_every_form_is_recognised_by_its_content(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, {**ZIPS, **TARS}[form])
    order = sorted(FILES) if form in ZIPS else list(FILES)
    assert list(read_members(path, everything)) == [(name, FILES[name]) for name in order]
    sizes = {name: len(content) for name, content in FILES.items()}
    assert member_sizes(path, everything) == (sizes if form in ZIPS else {})
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("form", [*ZIPS, *TARS])
def test_only_what_is_wanted_is_read(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, {**ZIPS, **TARS}[form])
    asked = []

    def wanted(name: str) -> bool:
        asked.append(name)
        return name.endswith(".json")

    assert list(read_members(path, wanted)) == [("refcoco/naïve.json", FILES["refcoco/naïve.json"])]
    assert sorted(asked) == sorted(FILES)
    if form in ZIPS:
        assert member_sizes(path, lambda name: name == "zeros") == {"zeros": len(FILES["zeros"])}


def test_names_have_no_dots_and_empty_parts(tmp_path: Path) -> None:
    names = {"./a//b": b"1", "c/./d": b"2", "e\\f": b"3"}
    for data in (make_zip(names), make_tar(names)):
        found = dict(read_members(write(tmp_path, data), everything))
        assert found == {"a/b": b"1", "c/d": b"2", "e/f": b"3"}


def test_a_zip_beyond_4_gb_is_read(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("near", b"near")
        archive.start_dir += 5 << 30  # a hole
        archive.writestr("far", b"far" * 100)
    if path.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("this file system knows no holes")
    assert dict(read_members(path, everything)) == {"near": b"near", "far": b"far" * 100}


def test_a_zip_with_more_members_than_16_bits_count_is_read(tmp_path: Path) -> None:
    """Some packers leave out the numbers of 64 bits and count modulo 65,536."""
    many = [Member(b"%d" % index, b"", 0) for index in range(65_538)]
    path = write(tmp_path, build_zip(*many))
    assert len(member_sizes(path, everything)) == 65_538


def test_an_error_of_the_caller_is_its_own(tmp_path: Path) -> None:
    def wanted(name: str) -> bool:
        raise ValueError("not ours")

    for archive in (make_zip(SMALL), gzip.compress(make_tar(SMALL))):
        with pytest.raises(ValueError, match="not ours"):
            list(read_members(write(tmp_path, archive), wanted))


# Hostile archives.

BAD_NAMES = {
    "/etc/passwd": "has an absolute path",
    "\\windows": "has an absolute path",
    "C:\\windows": "has an absolute path",
    "./c:evil": "has an absolute path",
    "../evil": "leads out of its folder",
    "a/../../evil": "leads out of its folder",
    "a/..": "leads out of its folder",
    "a/..\\evil": "leads out of its folder",
    "line\nbreak": "has a control character",
    "escape\x1b[2J": "has a control character",
    "delete\x7f": "has a control character",
    ".": "has no name",
}


@pytest.mark.hostile
@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("wanted", [True, False])
def test_names_that_lead_elsewhere_reject_the_archive(tmp_path: Path, name: str, wanted: bool) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    message = f"member .* {BAD_NAMES[name]}.*{NOT_TRUSTED}"
    members = tar_member("good"), tar_member(name)
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with pytest.raises(UserError, match=message):
            list(read_members(write(inner, pack_tar(*members, form=form)), lambda name: wanted))
    path = write(inner, make_zip({"good": b"", name: b"evil"}))
    with pytest.raises(UserError, match=message):
        list(read_members(path, lambda name: wanted))
    with pytest.raises(UserError, match=message):
        member_sizes(path, lambda name: wanted)
    assert sorted(tmp_path.rglob("*")) == [inner, path]


NO_FILE = "is neither a file nor a directory"
WRONG_ZIPS = [
    (Member(b"good.jpg\0.exe"), "has a control character"),
    (Member(b""), "has no name"),
    (Member(b"../up/", b"", mode=0o40755), "leads out of its folder"),
    (Member(b"full/", mode=0o40755), "is a directory with content"),
    (Member(b"a", mode=stat.S_IFLNK), "is a symbolic link"),
    *[(Member(b"a", mode=kind), NO_FILE) for kind in (stat.S_IFIFO, stat.S_IFBLK, stat.S_IFDIR)],
    *[(Member(b"a", flags=1 << flag), "is encrypted") for flag in (0, 6, 13)],
    *[(Member(b"a", method=method), "method that is not supported") for method in (9, 12, 14)],
]


@pytest.mark.hostile
@pytest.mark.parametrize(("member", "reason"), WRONG_ZIPS)
def test_one_wrong_member_rejects_a_zip(tmp_path: Path, member: Member, reason: str) -> None:
    assert refuse(write(tmp_path, build_zip(Member(b"first"), member)), f"{reason}.*{NOT_TRUSTED}") == []


def special(kind: bytes) -> bytes:
    return pack_tar(tar_member("a", b"", type=kind, linkname="/etc/passwd" * 20))


def sparse(content: bytes, **headers: str) -> bytes:
    pax = {f"GNU.sparse.{key}": value for key, value in headers.items()}
    return pack_tar(tar_member("a", content.ljust(513, b"\0"), pax_headers=pax))


WRONG_SIZES = [b"-1", b"-1000", b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"0x10", b"1 1"]
WRONG_TARS = [
    (pack_tar(tar_member("../..", b"", type=b"5")), "leads out of its folder"),
    (tar_block(b"full/", b"1000", b"5") + bytes(2048), "is a directory with content"),
    (extra_header(b"x", b"19 path=good\0evil.\n") + tar_block(b"x"), "has a control character"),
    *[(special(kind), "is a link") for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)],
    *[(special(kind), NO_FILE) for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"M")],
    (special(tarfile.GNUTYPE_SPARSE), "is a sparse file"),
    (sparse(b"1\n0\n1\n", major="1", minor="0", realsize="9999"), "is a sparse file"),
    (sparse(b"1", map="0,1", size="9999"), "is a sparse file"),
    *[(tar_block(b"", b"7", b"S", mapped=b"\1") + b"0" * 512 * count, "") for count in (1, 999)],
    *[
        (tar_block(b"a", size, kind) + bytes(4096), "")
        for size in WRONG_SIZES
        for kind in (b"0", b"5", b"L", b"x", b"g")
    ],
]


@pytest.mark.hostile
@pytest.mark.parametrize(("tar", "reason"), WRONG_TARS, ids=range(len(WRONG_TARS)))
def test_one_wrong_member_rejects_a_tar(tmp_path: Path, tar: bytes, reason: str) -> None:
    message = f"member .* {reason}.*{NOT_TRUSTED}" if reason else f"{CORRUPT}|{NOT_TRUSTED}"
    assert refuse(write(tmp_path, tar_block(b"first") + tar), message) == ["first"]


@pytest.mark.hostile
@pytest.mark.parametrize("second", ["a/b", "./a/b", "a//b", "a\\b"])
def test_a_name_that_occurs_twice_rejects_the_archive(tmp_path: Path, second: str) -> None:
    path = write(tmp_path, build_zip(*(Member(name.encode()) for name in ("a/b", second))))
    assert refuse(path, f"occurs twice{NOT_TRUSTED}") == []
    path = write(tmp_path, pack_tar(tar_member("a/b"), tar_member(second)))
    assert refuse(path, f"occurs twice{NOT_TRUSTED}") == ["a/b"]


@pytest.mark.hostile
def test_sizes_are_limited(tmp_path: Path) -> None:
    files = {"small": b"123", "big": bytes(1_001)}
    for data in (make_zip(files), make_tar(files)):
        path = write(tmp_path, data)
        assert len(list(read_members(path, everything, largest=1_001))) == 2
        refuse(
            path, f"member 'big' declares 1,001 bytes, at most 1,000 are allowed{NOT_TRUSTED}", largest=1_000
        )
    path = write(tmp_path, make_zip(files))
    assert len(list(read_members(path, everything, total=1_004))) == 2
    assert refuse(path, f"declare more than 1,003 bytes{NOT_TRUSTED}", total=1_003) == []
    assert len(list(read_members(path, lambda name: name == "small", total=3))) == 1
    data = make_tar(files)
    path = write(tmp_path, gzip.compress(data + bytes(1 << 24)))
    assert len(list(read_members(path, everything, total=len(data) + (1 << 24)))) == 2
    for total, read in ((1_024, []), (len(data) + (1 << 23), list(files))):
        assert refuse(path, f"unpacks to more than {total:,} bytes{NOT_TRUSTED}", total=total) == read


@pytest.mark.hostile
def test_endless_names_reject_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"{index:0200}": b"" for index in range(10)}
    for data in (make_zip(names), make_tar(names)):
        path = write(tmp_path, data)
        monkeypatch.setattr(member_check, "MOST_NAMES", 3_000)
        assert len(list(read_members(path, everything))) == 10
        monkeypatch.setattr(member_check, "MOST_NAMES", 2_999)
        refuse(path, f"it has 10 members or more, too many{NOT_TRUSTED}")


@pytest.mark.hostile
@pytest.mark.parametrize("kind", [b"x", b"g"])
@pytest.mark.parametrize("key", [b"size", b"GNU.sparse.realsize"])
@pytest.mark.parametrize("size", [b"-1", b"-1000", b"9" * 19, b"9" * 5_000, b"600", b"5000", b"none"])
def test_sizes_by_extra_headers_do_not_lead_astray(
    tmp_path: Path, kind: bytes, key: bytes, size: bytes
) -> None:
    """A size that is not a number may count as 0, which is the library's choice."""
    record = b" " + key + b"=" + size + b"\n"
    header = extra_header(kind, b"%d" % (len(record) + len(b"%d" % len(record))) + record)
    path = write(tmp_path, header + tar_block(b"a", b"3") + b"abc".ljust(512, b"\0") + bytes(1024))
    with suppress(UserError):
        read = [len(content) for _, content in read_members(path, everything)]
        assert read == [0] or (read == [600] and (kind, key) == (b"x", b"size"))


@pytest.mark.hostile
@pytest.mark.parametrize("kind", [b"L", b"x", b"g", b"K"])
def test_an_extra_header_of_a_hundred_megabytes_rejects_a_tar(tmp_path: Path, kind: bytes) -> None:
    bomb = tar_block(b"first") + tar_block(b"header", b"%o" % (100 << 20), kind) + bytes(100 << 20)
    path = write(tmp_path, gzip.compress(bomb, 1))
    del bomb
    with little_memory(4 << 20):
        assert refuse(path, CORRUPT) == ["first"]


@pytest.mark.hostile
@pytest.mark.parametrize(("kind", "size"), [(b"L", 9), (b"x", 9), (b"g", 0), (b"L", 15_000)])
def test_an_endless_chain_of_extra_headers_rejects_a_tar(tmp_path: Path, kind: bytes, size: int) -> None:
    """Each one is a nested call in `tarfile`."""
    path = write(tmp_path, gzip.compress(tar_block(b"first") + extra_header(kind, b"n" * size) * 5_000, 1))
    with little_memory(4 << 20):
        assert refuse(path, CORRUPT) == ["first"]


# Bombs.


@pytest.mark.hostile
@pytest.mark.parametrize("declared", [0, 10, 1 << 16])
def test_a_member_that_unpacks_to_more_than_it_declares_rejects_a_zip(tmp_path: Path, declared: int) -> None:
    """Its checksum is that of what it declares, as `zipfile` wants it: it cuts off the rest."""
    bomb = Member(b"bomb", bytes(100 << 20), size=declared, crc=zlib.crc32(bytes(declared)))
    path = write(tmp_path, build_zip(bomb))
    if declared:
        assert zipfile.ZipFile(path).read("bomb") == bytes(declared)
    with little_memory(4 << 20):
        assert refuse(path, f"{CORRUPT}|{NOT_TRUSTED}") == []


@pytest.mark.hostile
@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize(("size", "wrong"), [(70, 69), (70, 71), (70, 1 << 29), (0, 1), (1, 0)])
def test_a_member_of_another_size_than_declared_rejects_a_zip(
    tmp_path: Path, method: int, size: int, wrong: int
) -> None:
    """Its checksum is that of all that it holds, or of what it declares."""
    for declared, crc in ((wrong, bytes(size)), (wrong, bytes(min(size, wrong))), (size, b"wrong")):
        member = Member(b"a", bytes(size), method=method, size=declared, crc=zlib.crc32(crc))
        with little_memory(4 << 20):
            refuse(write(tmp_path, build_zip(member)), f"{CORRUPT}|does not hold .*{NOT_TRUSTED}")
    right = build_zip(Member(b"a", bytes(size), method=method))
    assert dict(read_members(write(tmp_path, right), everything)) == {"a": bytes(size)}


@pytest.mark.hostile
def test_members_that_share_their_data_reject_a_zip(tmp_path: Path) -> None:
    """https://www.bamsoftware.com/hacks/zipbomb/: the full overlap, and the one that quotes local headers."""
    kernel = Member(b"kernel", bytes(1 << 20))
    directory = kernel.entry(0) + Member(b"second", kernel.content).entry(0)
    path = write(tmp_path, end_zip(kernel.local() + kernel.data, directory, 2))
    assert refuse(path, f"overlaps what follows it{NOT_TRUSTED}") == []
    quoting = kernel.local() + kernel.data
    outer = Member(b"outer", kernel.local() + kernel.content)
    header = b"\0" + struct.pack("<HH", len(kernel.local()), len(kernel.local()) ^ 0xFFFF)
    body = outer.local() + header + quoting
    directory = outer.entry(0, len(header + quoting)) + kernel.entry(len(outer.local() + header))
    path = write(tmp_path, end_zip(body, directory, 2))
    with suppress(zipfile.BadZipFile):  # newer ones, and Debian's 3.11, find this by themselves
        assert zipfile.ZipFile(path).read("outer") == outer.content
    assert refuse(path, f"member 'outer' overlaps what follows it{NOT_TRUSTED}") == []


@pytest.mark.hostile
def test_a_member_that_reaches_into_the_directory_rejects_a_zip(tmp_path: Path) -> None:
    member = Member(b"a", bytes(500), 0)
    for place in (0, 1 << 20):
        data = end_zip(member.local() + bytes(480), member.entry(place), 1)
        refuse(write(tmp_path, data), f"overlaps what follows it{NOT_TRUSTED}")


def test_memory_is_that_of_the_largest_member(tmp_path: Path) -> None:
    """The one before it, it, and one in the making at most."""
    files = {f"{index}": bytes([index]) * (8 << 20) for index in range(12)}
    for data in (make_zip(files), make_zip(files, 0), make_tar(files), gzip.compress(make_tar(files), 1)):
        path = write(tmp_path, data)
        del data
        with little_memory(36 << 20):
            assert all(len(content) == 8 << 20 for _, content in read_members(path, everything))


def test_the_headers_of_a_tar_are_not_kept(tmp_path: Path) -> None:
    blocks = (tar_block(b"%d" % index) for index in range(10_000))
    path = write(tmp_path, b"".join([*blocks, bytes(1024)]))
    with little_memory(4 << 20):
        assert len(list(read_members(path, lambda name: name == "9999"))) == 1


# Broken archives.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        bytes(10_240),
        b"<!DOCTYPE html>\n<html><body>Not Found</body></html>" * 20,
        b'{"error": "quota"}',
        gzip.compress(b"<html>" * 200),
        bz2.compress(make_tar(SMALL)),
        lzma.compress(make_tar(SMALL)),
    ],
    ids=["empty", "one byte", "zeros", "page", "json", "page in gz", "bz2", "xz"],
)
def test_a_file_that_is_not_an_archive_is_reported_as_such(tmp_path: Path, data: bytes) -> None:
    refuse(write(tmp_path, data), "is not a zip, tar or tar.gz archive: fetch it again$")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match=f"^cannot read {path}: "):
            list(read_members(path, everything))
        with pytest.raises(UserError, match=f"^cannot read {path}: "):
            member_sizes(path, everything)


FORMS = {
    "zip": make_zip(SMALL),
    "stored zip": make_zip(SMALL, zipfile.ZIP_STORED),
    "tar": make_tar(SMALL),
    "gz": gzip.compress(make_tar(SMALL), 0, mtime=0),
}


@pytest.mark.hostile
@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_is_cut_anywhere_is_a_user_error(tmp_path: Path, form: str) -> None:
    data = FORMS[form]
    whole = len(data) if form != "tar" else data.rindex(SMALL["two.bin"]) + 1_023  # the rest are zeros
    for end in [*range(0, whole, whole // 250), *range(512, whole, 512)]:
        refuse(write(tmp_path, data[:end]), f"{CORRUPT}|is not a zip, tar or tar.gz archive")


@pytest.mark.hostile
def test_a_broken_header_is_not_the_end_of_a_tar(tmp_path: Path) -> None:
    tar = bytearray(FORMS["tar"])
    tar[tar.index(b"two.bin")] ^= 1
    for data in (bytes(tar), gzip.compress(tar)):
        assert refuse(write(tmp_path, data), CORRUPT) == ["a/one.txt"]
    behind = FORMS["tar"] + tar_block(b"behind")
    assert refuse(write(tmp_path, behind), CORRUPT) == list(SMALL)


@pytest.mark.hostile
def test_something_behind_the_gzip_stream_is_corrupt(tmp_path: Path) -> None:
    assert refuse(write(tmp_path, FORMS["gz"] + b"garbage"), CORRUPT) == list(SMALL)
    wrong = bytearray(FORMS["gz"])
    wrong[-8] ^= 1  # the checksum
    assert refuse(write(tmp_path, bytes(wrong)), CORRUPT) == list(SMALL)


@pytest.mark.hostile
def test_a_zip_whose_directory_and_members_disagree_is_refused(tmp_path: Path) -> None:
    refuse(write(tmp_path, build_zip(Member(b"a.p", local_name=b"b.p"))), CORRUPT)
    refuse(write(tmp_path, build_zip(Member(b"\xff", flags=1 << 11))), CORRUPT)
    refuse(write(tmp_path, build_zip(Member(b"a", flags=1 << 5))), CORRUPT)  # patched, whatever that is
    for place in (28, 30, 32):  # the first one's name, extra field or comment swallows the second
        data = bytearray(build_zip(Member(b"a"), Member(b"b")))
        data[data.index(b"PK\1\2") + place + 1] = 1
        refuse(write(tmp_path, bytes(data)), f"{CORRUPT}|{NOT_TRUSTED}")


def damaged(data: bytes, draw: st.DataObject) -> bytes:
    changed = bytearray(data)
    changes = st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(1, 255)), max_size=3)
    for place, value in draw.draw(changes):
        changed[place] ^= value
    return bytes(changed[: draw.draw(st.one_of(st.none(), st.integers(0, len(data))))])


@pytest.mark.hostile
@settings(max_examples=400, deadline=None)
@given(form=st.sampled_from(["zip", "stored zip", "gz"]), draw=st.data())
def test_a_damaged_archive_gives_the_right_content_or_a_user_error(form: str, draw: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), damaged(FORMS[form], draw))
        try:
            member_sizes(path, everything)
            read = dict(read_members(path, everything))
        except UserError:
            return
        assert read == SMALL


@pytest.mark.hostile
@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=2_000),
        st.binary(max_size=1_000).map(lambda tail: end_zip(b"PK\3\4", tail, 1)),
        st.lists(
            st.one_of(
                st.builds(
                    tar_block,
                    st.binary(max_size=100),
                    st.binary(max_size=12),
                    st.sampled_from([b"%c" % kind for kind in b"\00057LKSxgX"]),
                ),
                st.builds(extra_header, st.sampled_from([b"L", b"x", b"g"]), st.binary(max_size=600)),
            ),
            max_size=5,
        ).map(lambda blocks: b"".join([*blocks, bytes(1024)])),
    )
)
def test_any_bytes_give_members_or_a_user_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), data)
        try:
            read = dict(read_members(path, everything))
        except UserError:
            return
        assert not any(".." in name.split("/") for name in read)
        assert sum(len(content) for content in read.values()) <= len(data)
