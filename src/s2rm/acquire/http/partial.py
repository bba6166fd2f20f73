"""The bytes of a file that is still coming, and where they are from.

    <target>.part        the bytes, from the first one on
    <target>.part.json   their `ContentOrigin`, by which a later process can continue

The process may be killed at any moment: the record is there before the first byte that it speaks of.
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
    """What the bytes were read from."""

    url_sha256: str  # the address itself may hold a secret
    etag: str | None
    last_modified: str | None
    total: int | None  # bytes of the whole file

    @property
    def validator(self) -> str | None:
        """What tells contents apart: a strong ETag, else the date (RFC 9110, 13.1.5); None without either."""
        for value, form in ((self.etag, r'"[!#-~]*"'), (self.last_modified, r"[!-~][ -~]*")):
            if value and re.fullmatch(form, value):
                return value
        return None


_RECORD = TypeAdapter(ContentOrigin)


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


class PartialFile:
    """`<target>.part`. Whatever fails on this side, as a full disk, is a `UserError`."""

    def __init__(self, target: Path, progress: Callable[[int], None]) -> None:
        """Tells `progress` how many bytes are there already, and from then on how many come or go."""
        self.target, self.path = target, part_of(target)
        self._record = target.with_name(f"{target.name}.part.json")
        self.progress = progress
        with _writing(self.path):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.length = self.path.stat().st_size if self.path.exists() else 0
        self.origin = self._read_record()
        progress(self.length)

    def begin(self, origin: ContentOrigin) -> None:
        """From the first byte: what was there is dropped."""
        self.drop()
        self.adopt(origin)

    def adopt(self, origin: ContentOrigin) -> None:
        """The next bytes are from there."""
        with _writing(self._record):
            replace_text(self._record, _RECORD.dump_json(origin).decode())
        self.origin = origin

    @contextmanager
    def opened(self) -> Iterator[Callable[[bytes], None]]:
        """Gives what appends bytes."""
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
        if not self.length:
            return
        with _writing(self.path):
            self.path.unlink()
            self._record.unlink(missing_ok=True)
        dropped, self.length, self.origin = self.length, 0, None
        self.progress(-dropped)

    def sync(self) -> None:
        """On the disk, not only on its way there."""
        with _writing(self.path), self.path.open("ab") as file:
            os.fsync(file.fileno())

    def publish(self) -> None:
        """Makes it the target."""
        with _writing(self.target):
            self.path.replace(self.target)
            self._record.unlink(missing_ok=True)

    def _read_record(self) -> ContentOrigin | None:
        try:
            return _RECORD.validate_json(self._record.read_bytes())
        except (OSError, ValueError):  # none, or not ours: the bytes are of unknown origin
            return None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; mend that and start again: what has come is kept"
        ) from None
