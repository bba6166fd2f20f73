"""What the members of any archive must satisfy, and the errors of broken archives in one line."""

import gzip
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from s2rm.core.errors import UserError

LARGEST = 1 << 30  # bytes of a member
MOST_NAMES = 1 << 28  # bytes of memory for the names, each counted with 100 bytes besides its characters

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")


class MemberCheck:
    """Checks the members of one archive, one after the other.

    Args:
        path: the archive, for messages.
        wanted: whether a file of that name is wanted.
        largest: the most bytes that a member may declare.
    """

    def __init__(self, path: Path, wanted: Callable[[str], bool], largest: int) -> None:
        self.path, self._wanted, self._largest = path, wanted, largest
        self._names: set[str] = set()
        self._room = MOST_NAMES

    def admit(self, stated: str, size: int, fault: str | None, *, directory: bool) -> str | None:
        """Check a member, and return its plain name if it is a wanted file.

        Args:
            stated: the name in the archive.
            size: the bytes that it declares.
            fault: what is wrong with it already, if anything is.
            directory: whether it is a directory.

        Raises:
            UserError: something is wrong with the member.
        """
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

    def distrust(self, reason: str, stated: str | None = None) -> UserError:
        """Return the error that rejects the archive; `stated` names the member at fault, if it is one."""
        subject = "" if stated is None else f"member {stated[:100]!a} "
        return UserError(f"{self.path}: {subject}{reason}; do not trust this file")

    def _find_fault(self, stated: str, name: str, size: int, directory: bool) -> str | None:
        if _CONTROL.search(stated):
            return "has a control character in its name"
        if _ABSOLUTE.match(stated) or _ABSOLUTE.match(name):
            return "has an absolute path"
        if ".." in name.split("/"):
            return "leads out of its folder"
        if not 0 <= size <= self._largest:
            return f"declares {size:,} bytes, at most {self._largest:,} are allowed"
        if directory:
            return "is a directory with content" if size else None
        if not name:
            return "has no name"
        return "occurs twice" if name in self._names else None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever the readers raise at a broken file into a `UserError` of one line."""
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


def not_an_archive(path: Path) -> UserError:
    """Return the error for a file of another kind."""
    return UserError(f"{path} is not a zip, tar or tar.gz archive: fetch it again")
