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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2rm.data.archives import unpack
from s2rm.data.archives.unpack import member_sizes, read_members
from s2rm.errors import UserError

pytestmark = pytest.mark.timeout(120)

LONG = "/".join(["a_long_folder_name"] * 20)
FILES = {
    "refcoco/refs(unc).p": bytes(range(256)) * 5,
    "refcoco/naïve.json": b'{"images": []}',
    "refcoco/empty": b"",
    f"{LONG}/deep.jpg": os.urandom(3_000),
    "zeros": bytes(3 * unpack.PIECE + 17),
}
SMALL = {"a/one.txt": b"one " * 50, "two.bin": bytes(range(200))}
NOT_TRUSTED = "; the file is not to be trusted$"


def everything(name: str) -> bool:
    return True


def write(folder: Path, data: bytes) -> Path:
    path = folder / "archive"
    path.write_bytes(data)
    return path


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("refcoco/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_tar(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    members = []
    for name, content in files.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        members.append((info, content))
    return pack_tar(tarfile_directory("refcoco"), *members, form=form)


def tarfile_directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info, b""


def pack_tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar_member(name: str, content: bytes = b"content", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def tar_block(name: bytes, size: bytes = b"0", kind: bytes = b"0") -> bytes:
    """A header with any fields, its checksum right."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    return bytes(block)


@dataclass
class Member:
    """One of a zip, with any lie in its directory."""

    name: bytes
    content: bytes = b"content" * 10
    method: int = 8
    flags: int = 0
    mode: int = 0o100644
    size: int | None = None
    local_name: bytes | None = None
    local_extra: bytes = b""

    @property
    def data(self) -> bytes:
        return deflate(self.content) if self.method == 8 else self.content

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        return local_header(name, self.method, self.flags, self.local_extra)

    def entry(self, place: int, packed: int | None = None) -> bytes:
        size = len(self.content) if self.size is None else self.size
        packed = len(self.data) if packed is None else packed
        crc = zlib.crc32(self.content)
        return directory_entry(self.name, self.method, self.flags, crc, packed, size, self.mode, place)


def deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def local_header(name: bytes, method: int = 8, flags: int = 0, extra: bytes = b"") -> bytes:
    fields = (b"PK\3\4", 20, flags, method, 0, 0, 0, 0, 0, len(name), len(extra))
    return struct.pack("<4s5H3I2H", *fields) + name + extra


def directory_entry(
    name: bytes,
    method: int,
    flags: int,
    crc: int,
    packed: int,
    size: int,
    mode: int,
    place: int,
    extra: bytes = b"",
) -> bytes:
    fields = (b"PK\1\2", 0x314, 20, flags, method, 0, 0, crc, packed, size, len(name), len(extra), 0, 0, 0)
    return struct.pack("<4s6H3I5H", *fields) + struct.pack("<II", mode << 16, place) + name + extra


def end_record(count: int, size: int, start: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, size, start, 0)


def build_zip(*members: Member, count: int | None = None) -> bytes:
    body, directory = bytearray(), bytearray()
    for member in members:
        directory += member.entry(len(body))
        body += member.local() + member.data
    count = len(members) if count is None else count
    return bytes(body + directory + end_record(count, len(directory), len(body)))


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

ZIPS = {
    "stored": make_zip(FILES, zipfile.ZIP_STORED),
    "deflated": make_zip(FILES),
}
TARS = {
    "pax": make_tar(FILES, tarfile.PAX_FORMAT),
    "gnu": make_tar(FILES, tarfile.GNU_FORMAT),
    "gz": gzip.compress(make_tar(FILES)),
    "bz2": bz2.compress(make_tar(FILES)),
    "xz": lzma.compress(make_tar(FILES)),
    "xz of most memory": lzma.compress(make_tar(FILES), preset=9 | lzma.PRESET_EXTREME),
    "two gz streams": gzip.compress(make_tar(FILES)[:5_000]) + gzip.compress(make_tar(FILES)[5_000:]),
}


@pytest.mark.parametrize("form", [*ZIPS, *TARS])
def test_every_form_is_told_by_its_content(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, {**ZIPS, **TARS}[form])
    order = sorted(FILES) if form in ZIPS else list(FILES)
    assert list(read_members(path, everything)) == [(name, FILES[name]) for name in order]
    assert member_sizes(path, everything) == {name: len(content) for name, content in FILES.items()}
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
    assert member_sizes(path, lambda name: name == "zeros") == {"zeros": len(FILES["zeros"])}


def test_old_tars_are_read(tmp_path: Path) -> None:
    """Before ustar a folder was a file whose name ends with a slash; ustar splits a long name in two."""
    v7 = (
        tar_block(b"folder/", b"0", b"\0") + tar_block(b"folder/old", b"3 ", b"\0") + b"old".ljust(512, b"\0")
    )
    assert dict(read_members(write(tmp_path, v7 + bytes(1024)), everything)) == {"folder/old": b"old"}
    gnu = bytearray(tar_block(b"gnu"))
    gnu[148:156], gnu[257:265], gnu[345:357] = b" " * 8, b"ustar  \0", b"14000000000\0"  # a time, no prefix
    gnu[148:156] = b"%06o\0 " % sum(gnu)
    assert dict(read_members(write(tmp_path, bytes(gnu) + bytes(1024)), everything)) == {"gnu": b""}
    name = f"{'folder/' * 20}{'n' * 90}"
    ustar = make_tar({name: b"new"}, tarfile.USTAR_FORMAT)
    assert dict(read_members(write(tmp_path, ustar), everything)) == {name: b"new"}


def test_names_come_without_dots_and_empty_parts(tmp_path: Path) -> None:
    names = {"./a//b": b"1", "c/./d": b"2"}
    assert dict(read_members(write(tmp_path, make_zip(names)), everything)) == {"a/b": b"1", "c/d": b"2"}
    dot = tarfile_directory("./")
    tar = pack_tar(dot, tar_member("./a//b", b"1"), tar_member("c/./d", b"2"))
    assert dict(read_members(write(tmp_path, tar), everything)) == {"a/b": b"1", "c/d": b"2"}


def test_names_that_are_no_utf8_do_not_stop_it(tmp_path: Path) -> None:
    tar = tar_block(b"caf\xe9") + tar_block(b"plain") + bytes(1024)
    assert [name for name, _ in read_members(write(tmp_path, tar), everything)] == ["caf\udce9", "plain"]
    path = write(tmp_path, build_zip(Member(b"caf\x82")))
    assert [name for name, _ in read_members(path, everything)] == ["café"]


def test_a_directory_may_be_in_another_order_than_its_members(tmp_path: Path) -> None:
    first, second = Member(b"first"), Member(b"second", b"other")
    body = second.local() + second.data
    directory = first.entry(len(body)) + second.entry(0)
    body += first.local() + first.data
    path = write(tmp_path, body + directory + end_record(2, len(directory), len(body)))
    assert dict(read_members(path, everything)) == {"first": first.content, "second": b"other"}


def test_a_zip_may_have_comments(tmp_path: Path) -> None:
    path = write(tmp_path, make_zip(SMALL))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"c" * 0xFFFF
        archive.infolist()[1].comment = b"one"
    assert dict(read_members(path, everything)) == SMALL


def test_an_archive_without_members_gives_none(tmp_path: Path) -> None:
    for data in (build_zip(), gzip.compress(pack_tar())):
        assert list(read_members(write(tmp_path, data), everything)) == []


@pytest.mark.parametrize("size", [*range(5), *(unpack.PIECE + shift for shift in range(-2, 3))])
def test_contents_of_all_lengths_about_a_piece_are_whole(tmp_path: Path, size: int) -> None:
    """With 25 zeros beyond a piece, zlib has taken all of its input and still holds some of the output."""
    for content in (bytes(size), bytes(size + 25), os.urandom(size)):
        for archive in (make_zip({"a": content}), make_tar({"a": content})):
            assert list(read_members(write(tmp_path, archive), everything)) == [("a", content)]


def test_a_zip_beyond_4_gb_is_read(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("near", b"near")
        archive.start_dir += 5 << 30  # type: ignore[attr-defined]  # a hole
        archive.writestr("far", b"far" * 100)
    if path.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("this file system knows no holes")
    assert dict(read_members(path, everything)) == {"near": b"near", "far": b"far" * 100}


def wide_zip(extra: bytes, locator_shift: int = 0) -> bytes:
    """All numbers of its one member in 64 bits."""
    member = Member(b"wide")
    body = member.local() + member.data
    fill = 0xFFFFFFFF
    directory = directory_entry(b"wide", 8, 0, zlib.crc32(member.content), fill, fill, 0o100644, fill, extra)
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), len(body))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(body + directory) + locator_shift, 1)
    return body + directory + end + locator + end_record(0xFFFF, fill, fill)


@pytest.mark.hostile
@pytest.mark.parametrize("magic", [b"PK\6\6", b"PK\6\7", b"PK\1\2"])
def test_a_zip_with_a_broken_record_is_corrupt(tmp_path: Path, magic: bytes) -> None:
    member = Member(b"wide")
    data = wide_zip(struct.pack("<HH3Q", 1, 24, len(member.content), len(member.data), 0))
    assert data.count(magic) == 1
    refuse(write(tmp_path, data.replace(magic, b"PK\7\7")), "is corrupt or truncated")


def test_numbers_of_64_bits_are_read(tmp_path: Path) -> None:
    member = Member(b"wide")
    numbers = struct.pack("<HH3Q", 1, 24, len(member.content), len(member.data), 0)
    time_first = struct.pack("<HH5x", 0x5455, 5) + numbers
    for extra in (numbers, time_first):
        assert dict(read_members(write(tmp_path, wide_zip(extra)), everything)) == {"wide": member.content}
    refuse(write(tmp_path, wide_zip(b"")), "declares 4,294,967,295 bytes")
    refuse(write(tmp_path, wide_zip(numbers[:-2])), "is corrupt or truncated")
    for shift in (-1, 1, 1 << 62):
        refuse(write(tmp_path, wide_zip(numbers, shift)), "is corrupt or truncated")


def test_a_zip_with_more_members_than_16_bits_count_is_read(tmp_path: Path) -> None:
    """Some packers leave out the numbers of 64 bits and count modulo 65,536."""
    many = [Member(b"%d" % index, b"", 0) for index in range(65_538)]
    path = write(tmp_path, build_zip(*many))
    assert len(member_sizes(path, everything)) == 65_538
    refuse(write(tmp_path, build_zip(*many, count=3)), "has 65,538 members, not 3")


def test_an_error_of_the_caller_is_its_own(tmp_path: Path) -> None:
    def wanted(name: str) -> bool:
        raise OSError("not ours")

    for archive in (make_zip(SMALL), gzip.compress(make_tar(SMALL))):
        with pytest.raises(OSError, match="not ours"):
            list(read_members(write(tmp_path, archive), wanted))


# Hostile archives.

BAD_NAMES = {
    "/etc/passwd": "has an absolute path",
    "./\\\\server\\share": "has an absolute path",
    "\\windows": "has an absolute path",
    "C:\\windows": "has an absolute path",
    "c:evil": "has an absolute path",
    "../evil": "leads out of its folder",
    "a/../../evil": "leads out of its folder",
    "a/..": "leads out of its folder",
    "a\\..\\evil": "leads out of its folder",
    "a/..\\evil": "leads out of its folder",
    "line\nbreak": "has a control character",
    "escape\x1b[2J": "has a control character",
    "delete\x7f": "has a control character",
    ".": "has no name",
}


@pytest.mark.hostile
@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("wanted", [True, False])
def test_names_that_lead_elsewhere_condemn_the_archive(tmp_path: Path, name: str, wanted: bool) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    good = tar_member("good")
    for data in (
        make_zip({"good": b"", name: b"evil"}),
        pack_tar(good, tar_member(name)),
        pack_tar(good, tar_member(name), form=tarfile.GNU_FORMAT),
    ):
        path = write(inner, data)
        with pytest.raises(UserError, match=f"member .* {BAD_NAMES[name]}.*{NOT_TRUSTED}"):
            list(read_members(path, lambda name: wanted))
        with pytest.raises(UserError, match=BAD_NAMES[name]):
            member_sizes(path, lambda name: wanted)
    assert sorted(tmp_path.rglob("*")) == [inner, path]


@pytest.mark.hostile
def test_names_with_a_nul_or_none_condemn_the_archive(tmp_path: Path) -> None:
    refuse(write(tmp_path, build_zip(Member(b"good.jpg\0.exe"))), f"control character.*{NOT_TRUSTED}")
    refuse(write(tmp_path, build_zip(Member(b""))), f"has no name{NOT_TRUSTED}")
    refuse(write(tmp_path, tar_block(b"") + bytes(1024)), f"has no name{NOT_TRUSTED}")
    long = tar_block(b"././@LongLink", b"%o" % 9, b"L") + b"good\0evil".ljust(512, b"\0")
    refuse(write(tmp_path, long + tar_block(b"x") + bytes(1024)), f"control character.*{NOT_TRUSTED}")
    pax = tar_block(b"pax", b"%o" % 19, b"x") + b"19 path=good\0evil.\n".ljust(512, b"\0")
    refuse(write(tmp_path, pax + tar_block(b"x") + bytes(1024)), f"control character.*{NOT_TRUSTED}")


@pytest.mark.hostile
def test_a_name_of_a_thousand_letters_is_not_said_in_full(tmp_path: Path) -> None:
    path = write(tmp_path, build_zip(Member(b"/" + b"n" * 1_000)))
    refuse(path, rf"member '/n{{99}}\\u2026' has an absolute path{NOT_TRUSTED}")


@pytest.mark.hostile
def test_directories_are_checked_too(tmp_path: Path) -> None:
    refuse(write(tmp_path, build_zip(Member(b"../up/", b"", 0, mode=0o40755))), "leads out of its folder")
    refuse(write(tmp_path, build_zip(Member(b"full/", mode=0o40755))), "is a directory with content")
    refuse(write(tmp_path, pack_tar(tarfile_directory("../up"))), "leads out of its folder")
    refuse(write(tmp_path, tar_block(b"full/", b"1000", b"5") + bytes(2048)), "is a directory with content")


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (stat.S_IFLNK, "is a symbolic link"),
        (stat.S_IFIFO, "is neither a file nor a directory"),
        (stat.S_IFCHR, "is neither a file nor a directory"),
        (stat.S_IFBLK, "is neither a file nor a directory"),
        (stat.S_IFSOCK, "is neither a file nor a directory"),
        (stat.S_IFDIR, "is neither a file nor a directory"),
    ],
)
def test_what_is_no_file_condemns_a_zip(tmp_path: Path, kind: int, reason: str) -> None:
    link = Member(b"link", b"/etc/passwd", 0, mode=kind | 0o777)
    path = write(tmp_path, build_zip(Member(b"a"), link))
    assert refuse(path, f"member 'link' {reason}{NOT_TRUSTED}") == []


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "is a symbolic link"),
        (tarfile.LNKTYPE, "is a hard link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a named pipe"),
        (tarfile.GNUTYPE_SPARSE, "is a sparse file"),
        (b"M", "is of the type b'M', neither file nor directory"),
    ],
)
def test_what_is_no_file_condemns_a_tar(tmp_path: Path, kind: bytes, reason: str) -> None:
    special = tar_member("special", b"", type=kind, linkname="/etc/passwd")
    path = write(tmp_path, pack_tar(tar_member("first"), special))
    assert refuse(path, f"member 'special' {reason}{NOT_TRUSTED}") == ["first"]


@pytest.mark.hostile
def test_links_with_long_targets_and_sparse_files_of_pax_condemn_a_tar(tmp_path: Path) -> None:
    link = tar_member("link", b"", type=tarfile.SYMTYPE, linkname="x" * 200)
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        refuse(write(tmp_path, pack_tar(link, form=form)), f"is a (symbolic )?link{NOT_TRUSTED}")
    for headers in (
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999999"},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9999999"},
    ):
        sparse = tar_member("sparse", pax_headers=headers)
        refuse(write(tmp_path, pack_tar(sparse)), f"is a sparse file{NOT_TRUSTED}")


@pytest.mark.hostile
@pytest.mark.parametrize("second", ["a/b", "./a/b", "a//b", "a/./b"])
def test_a_name_that_is_there_twice_condemns_the_archive(tmp_path: Path, second: str) -> None:
    for names in (("a/b", second), (second, "a/b")):
        path = write(tmp_path, build_zip(*(Member(name.encode()) for name in names)))
        assert refuse(path, f"is there twice{NOT_TRUSTED}") == []
        path = write(tmp_path, pack_tar(*(tar_member(name) for name in names)))
        refuse(path, f"is there twice{NOT_TRUSTED}")


@pytest.mark.hostile
@pytest.mark.parametrize("flag", [0, 6, 13])
def test_encrypted_members_condemn_a_zip(tmp_path: Path, flag: int) -> None:
    refuse(write(tmp_path, build_zip(Member(b"a", flags=1 << flag))), f"is encrypted{NOT_TRUSTED}")


@pytest.mark.hostile
def test_compression_that_is_not_supported_condemns_a_zip(tmp_path: Path) -> None:
    """bzip2 and LZMA among them: a kilobyte of theirs may unpack to a gigabyte at once."""
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refuse(write(tmp_path, make_zip(SMALL, method)), rf"not supported \({method}\){NOT_TRUSTED}")
    refuse(write(tmp_path, build_zip(Member(b"a", method=9))), r"not supported \(9\)")
    refuse(write(tmp_path, build_zip(Member(b"a", flags=1 << 5))), "not supported")


@pytest.mark.hostile
def test_sizes_are_limited(tmp_path: Path) -> None:
    for data in (
        make_zip({"small": b"123", "big": bytes(1_001)}),
        make_tar({"small": b"123", "big": bytes(1_001)}),
    ):
        path = write(tmp_path, data)
        assert len(list(read_members(path, everything, largest=1_001))) == 2
        refuse(path, f"member 'big' declares 1,001 bytes, 1,000 are admitted{NOT_TRUSTED}", largest=1_000)
        with pytest.raises(UserError, match="declares 1,001 bytes"):
            member_sizes(path, lambda name: name == "small", largest=1_000)
    path = write(tmp_path, make_zip({"a": bytes(600), "b": bytes(600)}))
    assert len(list(read_members(path, everything, total=1_200))) == 2
    assert refuse(path, f"declare more than 1,199 bytes{NOT_TRUSTED}", total=1_199) == []
    assert len(list(read_members(path, lambda name: name == "a", total=600))) == 1
    tar = gzip.compress(make_tar({"a": bytes(600), "b": bytes(600)}))
    unpacked = len(gzip.decompress(tar))
    assert len(list(read_members(write(tmp_path, tar), everything, total=unpacked))) == 2
    refuse(
        write(tmp_path, tar), f"unpacks to more than {unpacked - 1:,} bytes{NOT_TRUSTED}", total=unpacked - 1
    )


@pytest.mark.hostile
@pytest.mark.parametrize("size", [b"-1", b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"7" * 12, b"0x10", b"1 1"])
def test_sizes_of_a_tar_that_are_none_condemn_it(tmp_path: Path, size: bytes) -> None:
    for kind in b"05Lxg":
        block = tar_block(b"a", size, bytes([kind]))
        refuse(write(tmp_path, tar_block(b"first") + block + bytes(4096)), NOT_TRUSTED)


def test_a_size_in_binary_counts(tmp_path: Path) -> None:
    tar = tar_block(b"a", b"\x80" + b"\0" * 10 + b"\5") + b"fives".ljust(512, b"\0") + bytes(1024)
    assert list(read_members(write(tmp_path, tar), everything)) == [("a", b"fives")]


@pytest.mark.hostile
@pytest.mark.parametrize("size", ["-1", "9" * 19, "9" * 5_000, "1_0", " 7", "", "٣"])
def test_sizes_by_pax_that_are_none_condemn_it(tmp_path: Path, size: str) -> None:
    tar = pack_tar(tar_member("a", pax_headers={"size": size, "comment": "x"}))
    refuse(write(tmp_path, tar), f"member 'a' declares (no size|.* are admitted){NOT_TRUSTED}")


def test_a_size_by_pax_counts(tmp_path: Path) -> None:
    record = b"10 size=5\n"
    tar = tar_block(b"pax", b"12", b"x") + record.ljust(512, b"\0") + tar_block(b"a", b"0")
    path = write(tmp_path, tar + b"fives".ljust(512, b"\0") + bytes(1024))
    assert list(read_members(path, everything)) == [("a", b"fives")]


@pytest.mark.hostile
def test_a_header_that_renames_all_members_condemns_a_tar(tmp_path: Path) -> None:
    """`git archive` sets a comment so, which does no harm."""
    for record, harmless in ((b"11 path=ab\n", False), (b"11 size=99\n", False), (b"14 comment=ab\n", True)):
        header = tar_block(b"pax", b"%o" % len(record), b"g") + record.ljust(512, b"\0")
        path = write(tmp_path, header + make_tar(SMALL))
        if harmless:
            assert dict(read_members(path, everything)) == SMALL
        else:
            refuse(path, f"of all members{NOT_TRUSTED}")


@pytest.mark.hostile
def test_extra_headers_that_are_broken_are_corrupt(tmp_path: Path) -> None:
    for record in (
        b"path=a\n",
        b"99 path=a\n",
        b"7 path=a\n",
        b"8 path=a",
        b"0 path=a\n",
        b"-8 path=a\n",
        b"99999999",
    ):
        header = tar_block(b"pax", b"%o" % len(record), b"x") + record.ljust(512, b"\0")
        refuse(
            write(tmp_path, header + make_tar(SMALL)), "is corrupt or truncated .an extra header is broken"
        )
    header = tar_block(b"pax", b"13", b"x") + b"11 path=ab\n".ljust(512, b"\0")
    refuse(write(tmp_path, header + bytes(1024)), "is corrupt or truncated")


@pytest.mark.hostile
def test_too_many_members_condemn_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"{index}": b"" for index in range(51)}
    archives = [make_zip(many), make_tar(many), build_zip(*[Member(b"%d" % i) for i in range(52)], count=1)]
    for most, refused in ((52, False), (51, True)):
        monkeypatch.setattr(unpack, "MOST_MEMBERS", most)
        for data in archives[: 2 if not refused else 3]:
            if refused:
                refuse(write(tmp_path, data), f"members.*{NOT_TRUSTED}")
            else:
                assert len(member_sizes(write(tmp_path, data), everything)) == 51


@pytest.mark.hostile
def test_endless_names_condemn_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MOST_NAMES", 5_000)
    names = {f"{index:0200}": b"" for index in range(26)}
    for data in (make_zip(names), make_tar(names)):
        refuse(write(tmp_path, data), NOT_TRUSTED)


@pytest.mark.hostile
def test_a_zip_that_declares_a_billion_members_is_refused_unread(tmp_path: Path) -> None:
    """By its end record, or by the size of its directory, which is a hole here."""
    path = tmp_path / "archive"
    for count, size in ((10**9, 47), (3, 1 << 33)):
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, 4)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, 4 + size, 1)
        with path.open("wb") as file:
            file.write(b"PK\3\4")
            file.seek(4 + size)
            file.write(end + locator + end_record(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF))
        with little_memory(1 << 20):
            refuse(path, f"declares {count:,} members in a directory of {size:,} bytes{NOT_TRUSTED}")


# Bombs.


@pytest.mark.hostile
@pytest.mark.parametrize("declared", [0, 10, 1 << 16])
def test_a_member_that_unpacks_to_more_than_it_declares_condemns_a_zip(tmp_path: Path, declared: int) -> None:
    """Its checksum is that of what it declares, as `zipfile` wants it: it cuts off the rest."""
    bomb = Member(b"bomb", bytes(declared))
    data = deflate(bytes(100 << 20))
    body = bomb.local() + data
    directory = bomb.entry(0, packed=len(data))
    path = write(tmp_path, body + directory + end_record(1, len(directory), len(body)))
    if declared:
        assert zipfile.ZipFile(path).read("bomb") == bytes(declared)
    with little_memory(8 << 20):
        assert refuse(path, f"holds more than the {declared:,} bytes that it declares{NOT_TRUSTED}") == []


@pytest.mark.hostile
@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("size", [69, 71, 1 << 20])
def test_a_member_of_another_size_than_declared_condemns_a_zip(
    tmp_path: Path, method: int, size: int
) -> None:
    path = write(tmp_path, build_zip(Member(b"a", method=method, size=size)))
    refuse(path, f"(holds .* declares|bytes that it declares).*{NOT_TRUSTED}")
    if method == 0:  # seen in the directory
        with pytest.raises(UserError, match=f"holds 70 bytes and declares {size:,}{NOT_TRUSTED}"):
            member_sizes(path, lambda name: False)


@pytest.mark.hostile
def test_members_that_share_their_data_condemn_a_zip(tmp_path: Path) -> None:
    """https://www.bamsoftware.com/hacks/zipbomb/: the full overlap, and the one that quotes local headers."""
    kernel = Member(b"kernel", bytes(1 << 20))
    body = kernel.local() + kernel.data
    directory = kernel.entry(0) + Member(b"second", kernel.content).entry(0)
    path = write(tmp_path, body + directory + end_record(2, len(directory), len(body)))
    assert refuse(path, f"overlaps what follows it{NOT_TRUSTED}") == []

    chain, content = kernel.local() + kernel.data, kernel.content
    entries = [(Member(b"kernel", content), len(kernel.data), 0)]
    for index in range(20):
        quoted = chain[: 30 + len(entries[-1][0].name)]
        member = Member(b"quote%d" % index, quoted + content)
        data = b"\0" + struct.pack("<HH", len(quoted), len(quoted) ^ 0xFFFF) + chain
        assert zlib.decompress(data, -15, 2 << 20) == member.content
        content, chain = member.content, member.local() + data
        entries.append((member, len(data), 0))
    place, directory = 0, b""
    for member, packed, _ in reversed(entries):
        directory += member.entry(place, packed)
        place += len(member.local()) + 5
    path = write(tmp_path, chain + directory + end_record(len(entries), len(directory), len(chain)))
    assert refuse(path, f"overlaps what follows it{NOT_TRUSTED}") == []


@pytest.mark.hostile
def test_a_local_header_that_leads_into_another_member_condemns_a_zip(tmp_path: Path) -> None:
    """The directory is right; the local header's extra field is longer than its place."""
    first, second = Member(b"first", bytes(500), 0), Member(b"other", bytes(500), 0)
    body = first.local()[:-7] + struct.pack("<H", 535) + b"first" + bytes(500) + second.local() + bytes(500)
    directory = first.entry(0) + second.entry(535)
    path = write(tmp_path, body + directory + end_record(2, len(directory), len(body)))
    assert zipfile.ZipFile(path).read("first") == bytes(500)
    refuse(path, f"member 'first' overlaps what follows it{NOT_TRUSTED}")


@pytest.mark.hostile
def test_a_member_that_reaches_into_the_directory_condemns_a_zip(tmp_path: Path) -> None:
    member = Member(b"a", bytes(500), 0)
    body = member.local() + bytes(480)
    directory = member.entry(0)
    refuse(
        write(tmp_path, body + directory + end_record(1, len(directory), len(body))), "overlaps what follows"
    )
    directory = member.entry(1 << 20)
    refuse(
        write(tmp_path, body + directory + end_record(1, len(directory), len(body))), "overlaps what follows"
    )


@pytest.mark.hostile
@pytest.mark.parametrize("kind", [b"L", b"x", b"g", b"K"])
def test_a_header_of_a_hundred_megabytes_condemns_a_tar(tmp_path: Path, kind: bytes) -> None:
    bomb = tar_block(b"first") + tar_block(b"header", b"%o" % (100 << 20), kind) + bytes(100 << 20)
    path = write(tmp_path, gzip.compress(bomb, 1))
    del bomb
    with little_memory(4 << 20):
        assert refuse(path, NOT_TRUSTED) == ["first"]


@pytest.mark.hostile
@pytest.mark.parametrize("kind", [b"L", b"x"])
def test_headers_in_endless_sequence_need_no_memory(tmp_path: Path, kind: bytes) -> None:
    """Each would be a call within a call in `tarfile`."""
    tar = b""
    for index in range(200):
        record = b"n" * 60_000 if kind == b"L" else b"60000 GNU.sparse.%03d=" % index
        record = record.ljust(59_999, b"n") + b"\n"
        tar += tar_block(b"header", b"%o" % len(record), kind) + record.ljust(60_416, b"\0")
    path = write(tmp_path, gzip.compress(tar, 1))
    with little_memory(4 << 20):
        assert refuse(path, "is corrupt or truncated") == []


@pytest.mark.hostile
def test_a_declared_gigabyte_that_is_not_there_needs_no_memory(tmp_path: Path) -> None:
    size = 1 << 30
    for pack in (bytes, gzip.compress, bz2.compress, lzma.compress):
        path = write(tmp_path, pack(tar_block(b"a", b"%o" % size) + bytes(4096)))
        with little_memory(12 << 20 if pack is lzma.compress else 8 << 20):
            refuse(path, "is corrupt or truncated .it ends too early")
    path = write(tmp_path, build_zip(Member(b"a", size=size)))
    with little_memory(4 << 20):
        refuse(path, "holds less than")


@pytest.mark.hostile
def test_what_follows_the_end_of_a_tar_is_limited_and_not_kept(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(make_tar(SMALL) + bytes(64 << 20), 1))
    with little_memory(4 << 20):
        assert dict(read_members(path, everything)) == SMALL
        refuse(path, f"unpacks to more than 33,554,432 bytes{NOT_TRUSTED}", total=32 << 20)


@pytest.mark.hostile
def test_an_xz_file_does_not_say_how_much_memory_it_gets(tmp_path: Path) -> None:
    data = bytearray(lzma.compress(make_tar(SMALL)))
    length = (data[12] + 1) * 4  # of the first block's header; its filter is LZMA2 with a dictionary of 4 GB
    assert data[13:16] == b"\0\x21\1"
    data[16] = 40
    data[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(data[12 : 12 + length - 4]))
    with little_memory(4 << 20):
        refuse(write(tmp_path, bytes(data)), "is corrupt or truncated .Memory usage limit exceeded")


def test_memory_is_that_of_the_largest_member(tmp_path: Path) -> None:
    files = {f"{index}": bytes([index]) * (8 << 20) for index in range(12)}
    for data in (make_zip(files), make_zip(files, 0), make_tar(files), gzip.compress(make_tar(files), 1)):
        path = write(tmp_path, data)
        del data
        with little_memory(24 << 20):
            for _, content in read_members(path, everything):
                assert len(content) == 8 << 20


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
        lzma.compress(b"<html>" * 200),
        b"7z\xbc\xaf\x27\x1c" * 100,
    ],
    ids=["empty", "one byte", "zeros", "page", "json", "page in gz", "page in xz", "7z"],
)
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    refuse(write(tmp_path, data), "is no zip or tar archive, it (is empty|begins with b.*): fetch it again$")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match=f"^cannot read {path}: "):
            list(read_members(path, everything))


FORMS = {
    "zip": make_zip(SMALL),
    "stored zip": make_zip(SMALL, zipfile.ZIP_STORED),
    "tar": make_tar(SMALL),
    "gz": gzip.compress(make_tar(SMALL), 0, mtime=0),
    "bz2": bz2.compress(make_tar(SMALL)),
    "xz": lzma.compress(make_tar(SMALL)),
}


@pytest.mark.hostile
@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_is_cut_anywhere_is_a_user_error(tmp_path: Path, form: str) -> None:
    data = FORMS[form]
    whole = (
        len(data) if form != "tar" else data.rindex(bytes(range(200))) + 513
    )  # its end is padded with zeros
    for end in range(0, whole, max(1, whole // 250)):
        refuse(write(tmp_path, data[:end]), "is corrupt or truncated|is no zip or tar archive")


@pytest.mark.hostile
@pytest.mark.parametrize("form", [form for form in FORMS if form != "tar"])  # which has no checksum
def test_an_archive_with_a_wrong_byte_in_its_content_is_corrupt(tmp_path: Path, form: str) -> None:
    data = bytearray(FORMS[form])
    data[data.index(b"two.bin") + 9 if "zip" in form else len(data) // 2] ^= 1
    refuse(write(tmp_path, bytes(data)), "is corrupt or truncated .*: fetch it again$")


@pytest.mark.hostile
def test_a_zip_with_something_before_or_behind_it_is_corrupt(tmp_path: Path) -> None:
    data = FORMS["zip"]
    for wrong in (data + b"\0", data + data, data[:30] + b"inserted" + data[30:], b"PK\3\4" + data):
        refuse(write(tmp_path, wrong), "is corrupt or truncated")


@pytest.mark.hostile
def test_a_member_that_swallows_the_rest_of_the_directory_is_corrupt(tmp_path: Path) -> None:
    """By the lengths of its name, extra field or comment; the count is made to fit."""
    for place in (28, 30, 32):
        data = bytearray(build_zip(Member(b"a"), Member(b"b"), count=1))
        data[data.index(b"PK\1\2") + place + 1] = 1
        refuse(write(tmp_path, bytes(data)), "the directory of the zip is broken")


@pytest.mark.hostile
def test_a_member_that_ends_within_its_packed_data_is_corrupt(tmp_path: Path) -> None:
    member = Member(b"a", os.urandom(5_000))
    body = member.local() + member.data
    directory = member.entry(0, packed=len(member.data) - 9)
    path = write(tmp_path, body + directory + end_record(1, len(directory), len(body)))
    refuse(path, "is corrupt or truncated .a member ends too early")


@pytest.mark.hostile
def test_something_behind_a_compressed_tar_is_corrupt(tmp_path: Path) -> None:
    for more in (b"garbage", lzma.compress(b"more")):
        refuse(write(tmp_path, lzma.compress(make_tar(SMALL)) + more), "something follows the end")
    refuse(write(tmp_path, gzip.compress(make_tar(SMALL)) + b"garbage"), "is corrupt or truncated")


@pytest.mark.hostile
def test_a_zip_whose_directory_and_members_disagree_is_corrupt(tmp_path: Path) -> None:
    refuse(
        write(tmp_path, build_zip(Member(b"a.p", local_name=b"b.p"))),
        "'a.p' is not where the directory has it",
    )
    refuse(write(tmp_path, build_zip(Member(b"a"), Member(b"b"), count=1)), "has 2 members, not 1")
    refuse(write(tmp_path, build_zip(Member(b"\xff", flags=1 << 11))), "is corrupt or truncated")


@pytest.mark.hostile
@settings(max_examples=400, deadline=None)
@given(
    form=st.sampled_from(["zip", "stored zip", "gz", "bz2", "xz"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_a_damaged_archive_gives_the_right_content_or_a_user_error(
    form: str, changes: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(FORMS[form])
    for place, value in changes:
        data[int(place * len(data))] ^= value
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), bytes(data[: int(kept * len(data))]))
        try:
            read = dict(read_members(path, everything))
        except UserError:
            return
        assert read == SMALL


@pytest.mark.hostile
@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=2_000),
        st.lists(st.binary(max_size=100).map(lambda name: tar_block(name)), max_size=4).map(b"".join),
        st.binary(max_size=1_000).map(lambda tail: b"PK\3\4" + tail + end_record(1, len(tail), 4)),
        st.lists(
            st.tuples(st.integers(0, len(FORMS["tar"]) - 1), st.integers(0, 255)), min_size=1, max_size=6
        ).map(lambda changes: overwrite(FORMS["tar"], changes)),
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


def overwrite(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    """With some bytes replaced and the checksum of the first header made right again."""
    changed = bytearray(data)
    for place, value in changes:
        changed[place] = value
    block = changed[:148] + b" " * 8 + changed[156:512]
    changed[148:156] = b"%06o\0 " % sum(block)
    return bytes(changed)
