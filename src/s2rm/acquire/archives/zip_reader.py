"""Reads the members of an untrusted zip; `s2rm.acquire.archives.unpack` describes the guards."""

import copy
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from s2rm.acquire.archives.member_check import MemberCheck, reading

LOCAL_HEADER = 30  # bytes of a member before its name
ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13  # flags of a member


def read_zip(check: MemberCheck, total: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each wanted member in the order of names.

    Args:
        check: what a member must satisfy; it names the archive.
        total: the most unpacked bytes of all wanted members.

    Raises:
        UserError: as for `unpack.read_members`.
    """
    with _open(check.path) as archive:
        for name, info in sorted(_list(archive, check, total).items()):
            with reading(check.path):
                content = _read_one_byte_more(archive, info)
            if len(content) != info.file_size:
                raise check.distrust(f"does not hold the {info.file_size:,} bytes that it declares", name)
            yield name, content


def list_zip_sizes(check: MemberCheck, total: int) -> dict[str, int]:
    """Return name → unpacked bytes of the wanted members; arguments and errors are those of `read_zip`."""
    with _open(check.path) as archive:
        return {name: info.file_size for name, info in _list(archive, check, total).items()}


def _open(path: Path) -> zipfile.ZipFile:
    with reading(path):
        return zipfile.ZipFile(path)


def _list(archive: zipfile.ZipFile, check: MemberCheck, total: int) -> dict[str, zipfile.ZipInfo]:
    """Return the wanted files by name; all members are checked."""
    found = {}
    for info in archive.infolist():
        stated = info.orig_filename  # `filename` ends before a NUL
        directory = stated.endswith("/")
        name = check.admit(stated, info.file_size, _find_fault(info, directory), directory=directory)
        if name is not None:
            found[name] = info
    _check_overlap(archive, check)
    if sum(info.file_size for info in found.values()) > total:
        raise check.distrust(f"its members declare more than {total:,} bytes")
    return found


def _find_fault(info: zipfile.ZipInfo, directory: bool) -> str | None:
    if b"PK\1\2" in info.extra + info.comment:
        return "swallows what follows it in the directory"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by a method that is not supported ({info.compress_type})"
    mode = stat.S_IFMT(info.external_attr >> 16)  # 0 where the packer recorded no modes
    if mode == stat.S_IFLNK:
        return "is a symbolic link"
    if mode not in (0, stat.S_IFDIR if directory else stat.S_IFREG):
        return "is neither a file nor a directory"
    return None


def _check_overlap(archive: zipfile.ZipFile, check: MemberCheck) -> None:
    """Check that each member has its own bytes of the file: shared ones could unpack to any number.

    https://www.bamsoftware.com/hacks/zipbomb/
    """
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    ends = [info.header_offset for info in infos[1:]] + [archive.start_dir]
    for info, end in zip(infos, ends, strict=False):  # without members there is still one end
        if info.header_offset + LOCAL_HEADER + info.compress_size > end:
            raise check.distrust("overlaps what follows it", info.orig_filename)


def _read_one_byte_more(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the content, and one byte of what exceeds the declared size, which the library would cut off."""
    longer = copy.copy(info)
    longer.file_size += 1
    with archive.open(longer) as member:
        return member.read(longer.file_size)
