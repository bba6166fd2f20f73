"""Keeps an image folder as one zip of the same name, without compression, and reads images from either form.

    images/mscoco/images/train2014/COCO_train2014_000000000009.jpg      in REFER and in the tables
    images/mscoco/images/train2014.zip: COCO_train2014_000000000009.jpg     in data/raw

The cost of DVC, network file systems and copies to a cluster grows with the number of files, not of bytes.
Any zip tool opens such a zip; here members are read by their offset, by any number of processes at once.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from types import TracebackType

from s2rm.core.errors import UserError
from s2rm.core.files import partial_of

LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature … length of the name, of the extra field
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip: the same input gives the same bytes


class MissingFileError(UserError):
    """The file or member does not exist."""


class ImageZipWriter:
    """Writes an image zip beside `path` and, on leaving the context without an error, moves it there.

    Attributes:
        names: the members that have been added.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.partial = path, partial_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.names: set[str] = set()
        self._zip = zipfile.ZipFile(self.partial, "w", zipfile.ZIP_STORED)

    def add(self, name: str, data: bytes) -> None:
        """Add a member.

        Raises:
            ValueError: there is already a member of that name.
        """
        if name in self.names:
            raise ValueError(f"{name} is in {self.path} already")
        self.names.add(name)
        info = zipfile.ZipInfo(name, _EPOCH)
        info.external_attr = 0o644 << 16
        self._zip.writestr(info, data)

    def __enter__(self) -> "ImageZipWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()
        if kind is None:
            self.partial.replace(self.path)
        else:
            self.partial.unlink(missing_ok=True)


class ZipImages:
    """Reads members of an uncompressed zip. Safe with threads and forked processes: reads share no position.

    Raises:
        UserError: the file is missing, or is not an uncompressed zip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
            self._file = os.open(path, os.O_RDONLY)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise UserError(f"{path} is not a readable zip: {error}; run `dvc repro download`") from None
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UserError(f"{path} is compressed: it must be a zip without compression (zip -0)")
        self._members = {
            member.filename: (member.header_offset, member.file_size, member.CRC) for member in members
        }

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> Iterable[str]:
        """Return the names of all members."""
        return self._members.keys()

    def read(self, name: str) -> bytes:
        """Return a member's content.

        Raises:
            MissingFileError: there is no such member.
            UserError: the zip is corrupt there.
        """
        if name not in self._members:
            raise MissingFileError(f"{self.path} has no {name}")
        offset, size, crc = self._members[name]
        header = os.pread(self._file, LOCAL_HEADER.size, offset)
        if len(header) == LOCAL_HEADER.size:
            _, name_length, extra_length = LOCAL_HEADER.unpack(header)
            data = os.pread(self._file, size, offset + LOCAL_HEADER.size + name_length + extra_length)
            if len(data) == size and zlib.crc32(data) == crc:
                return data
        raise UserError(f"{self.path} is corrupt at {name}: run `dvc repro --force download`")

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


class ImageFiles:
    """Reads the files under a raw data folder by their REFER paths, from plain folders or image zips."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._zips: dict[PurePosixPath, ZipImages | None] = {}

    def read(self, path: str) -> bytes:
        """Return a file's content.

        Args:
            path: the path relative to the root, with `/` between its parts.

        Raises:
            MissingFileError: there is no such file or member.
            UserError: it cannot be read.
        """
        parent = PurePosixPath(path).parent
        if parent not in self._zips:
            self._zips[parent] = self._find_zip(parent)
        image_zip = self._zips[parent]
        if image_zip is None:
            return self._read_plain(self.root / path)
        folder = image_zip.path.with_suffix("").relative_to(self.root).as_posix()
        return image_zip.read(path.removeprefix(f"{folder}/"))

    def names(self, folder: str) -> list[str]:
        """Return the paths of all files in a folder and in those below it, relative to it."""
        image_zip = self._find_zip(PurePosixPath(folder))
        if image_zip is None:
            root = self.root / folder
            return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        inside = PurePosixPath(folder).relative_to(image_zip.path.with_suffix("").relative_to(self.root))
        return sorted(
            PurePosixPath(name).relative_to(inside).as_posix()
            for name in image_zip.names()
            if PurePosixPath(name).is_relative_to(inside) and not name.endswith("/")
        )

    def _read_plain(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise MissingFileError(f"{path}: there is no such file") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None

    def _find_zip(self, folder: PurePosixPath) -> ZipImages | None:
        """Return the zip of `folder` or of one above it, or None where `folder` itself exists."""
        if (self.root / folder).is_dir():
            return None
        zips = (self.root / f"{above}.zip" for above in (folder, *folder.parents))
        return next((ZipImages(path) for path in zips if path.is_file()), None)

    def __getstate__(self) -> dict[str, object]:
        return {"root": self.root, "_zips": {}}  # a spawned process opens the zips itself
