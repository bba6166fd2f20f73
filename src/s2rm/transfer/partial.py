"""An unfinished download on the disk: the bytes received so far, and where they are from.

    <target>.part        the bytes, from the first one on
    <target>.part.json   their `ContentOrigin`, which lets a later process continue

The process may be killed at any moment: the record is written before the first byte that it describes.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from s2rm.core.errors import UserError
from s2rm.core.files import replace_text


@dataclass(frozen=True)
class ContentOrigin:
    """The content that the bytes were read from."""

    url_sha256: str  # a digest, as the address itself may hold a secret
    etag: str | None
    last_modified: str | None
    total: int | None  # bytes of the whole file

    @property
    def validator(self) -> str | None:
        """What identifies the content: a strong ETag, else the date (RFC 9110, 13.1.5), or None."""
        for value, form in ((self.etag, r'"[!#-~]*"'), (self.last_modified, r"[!-~][ -~]*")):
            if value and re.fullmatch(form, value):
                return value
        return None


_RECORD = TypeAdapter(ContentOrigin)


def part_of(target: Path) -> Path:
    """Return the path of the bytes received so far of `target`."""
    return target.with_name(f"{target.name}.part")


class PartialFile:
    """The file `<target>.part` and its record.

    Every method raises `UserError` where writing fails, for example because the disk is full.

    Attributes:
        target: the file to be.
        path: the file of the bytes received so far.
        length: how many bytes it has.
        origin: where they are from; None where that is unknown.
    """

    def __init__(self, target: Path, progress: Callable[[int], None]) -> None:
        """Open the unfinished download of `target`, if there is one.

        Args:
            target: the file to be.
            progress: called with the number of bytes that exist already, then with how many are added or,
                below zero, dropped.
        """
        self.target, self.path = target, part_of(target)
        self._record = target.with_name(f"{target.name}.part.json")
        self.progress = progress
        with _writing(self.path):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.length = self.path.stat().st_size if self.path.exists() else 0
        self.origin = self._read_record()
        progress(self.length)

    def begin(self, origin: ContentOrigin) -> None:
        """Start over from the first byte: earlier bytes are dropped."""
        self.drop()
        self.adopt(origin)

    def adopt(self, origin: ContentOrigin) -> None:
        """Record that the next bytes are from `origin`."""
        with _writing(self._record):
            replace_text(self._record, _RECORD.dump_json(origin).decode())
        self.origin = origin

    @contextmanager
    def opened(self) -> Iterator[Callable[[bytes], None]]:
        """Yield a function that appends bytes."""
        with _writing(self.path):
            file = self.path.open("ab")

        def append(chunk: bytes) -> None:
            with _writing(self.path):
                file.write(chunk)
            self.length += len(chunk)
            self.progress(len(chunk))

        try:
            yield append
        finally:
            with _writing(self.path):
                file.close()

    def drop(self) -> None:
        """Delete the bytes and their record."""
        if not self.length:
            return
        with _writing(self.path):
            self.path.unlink()
            self._record.unlink(missing_ok=True)
        dropped, self.length, self.origin = self.length, 0, None
        self.progress(-dropped)

    def sync(self) -> None:
        """Flush the bytes to the disk."""
        with _writing(self.path), self.path.open("ab") as file:
            os.fsync(file.fileno())

    def publish(self) -> None:
        """Rename the finished part to the target."""
        with _writing(self.target):
            self.path.replace(self.target)
            self._record.unlink(missing_ok=True)

    def _read_record(self) -> ContentOrigin | None:
        try:
            return _RECORD.validate_json(self._record.read_bytes())
        except (OSError, ValueError):  # missing or not ours: the origin of the bytes is unknown
            return None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; fix this and start again: the bytes received are kept"
        ) from None
