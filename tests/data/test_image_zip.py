"""Image zips: many files in one, by their names, read by offset."""

import multiprocessing
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from s2rm.core.errors import UserError
from s2rm.data.image_zip import ImageFiles, ImageZipWriter, MissingFileError, ZipImages

MEMBERS = {f"{number}.jpg": np.random.default_rng(number).bytes(1000 + number) for number in range(50)}


@pytest.fixture
def zip_path(tmp_path: Path) -> Path:
    path = tmp_path / "raw" / "images" / "photographs.zip"
    with ImageZipWriter(path) as writer:
        for name, data in MEMBERS.items():
            writer.add(name, data)
    return path


def test_what_is_written_is_read(zip_path: Path) -> None:
    reader = ZipImages(zip_path)
    assert list(reader.names()) == list(MEMBERS)
    assert {name: reader.read(name) for name in MEMBERS} == MEMBERS
    assert "0.jpg" in reader
    assert "no.jpg" not in reader
    with pytest.raises(MissingFileError, match=r"has no no\.jpg"):
        reader.read("no.jpg")


def test_the_same_members_give_the_same_bytes_and_any_tool_opens_it(zip_path: Path, tmp_path: Path) -> None:
    with ImageZipWriter(tmp_path / "again.zip") as writer:
        for name, data in MEMBERS.items():
            writer.add(name, data)
    assert (tmp_path / "again.zip").read_bytes() == zip_path.read_bytes()
    with zipfile.ZipFile(zip_path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == MEMBERS


def test_a_zip_of_another_tool_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo("a.jpg")
        info.extra = b"\xca\xfe\x04\x00abcd"  # an extra field moves the data
        archive.writestr(info, b"content")
    assert ZipImages(tmp_path / "other.zip").read("a.jpg") == b"content"
    with zipfile.ZipFile(tmp_path / "small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"content")
    with pytest.raises(UserError, match="must be a zip without compression"):
        ZipImages(tmp_path / "small.zip")


def test_a_failed_writing_leaves_the_old_zip(zip_path: Path) -> None:
    def write_half() -> None:
        with ImageZipWriter(zip_path) as writer:
            writer.add("0.jpg", b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert ZipImages(zip_path).read("0.jpg") == MEMBERS["0.jpg"]
    assert [path.name for path in zip_path.parent.iterdir()] == [zip_path.name]
    with ImageZipWriter(zip_path) as writer:
        writer.add("0.jpg", b"new")
        with pytest.raises(ValueError, match="already"):
            writer.add("0.jpg", b"newer")


@pytest.mark.parametrize("place", [100, 20_000, -100])
def test_corrupt_bytes_are_never_given(zip_path: Path, place: int) -> None:
    data = bytearray(zip_path.read_bytes())
    data[place] ^= 0xFF
    zip_path.write_bytes(data)
    wrong = 0
    try:
        reader = ZipImages(zip_path)
    except UserError:
        return
    for name in reader.names():
        try:
            assert reader.read(name) == MEMBERS.get(name, reader.read(name))
        except UserError:
            wrong += 1
    assert wrong or list(reader.names()) != list(MEMBERS)


@pytest.mark.parametrize("data", [b"", b"<html>", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_not_a_zip_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    for name in ("a.zip", "b.zip"):
        with pytest.raises(UserError, match=f"{name} is not a readable zip"):
            ZipImages(tmp_path / name)


def _read_all(files: ImageFiles) -> bool:
    return all(files.read(f"images/photographs/{name}") == data for name, data in MEMBERS.items())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_at_the_same_time(zip_path: Path, method: str) -> None:
    files = ImageFiles(zip_path.parents[1])
    assert _read_all(files)
    with multiprocessing.get_context(method).Pool(3) as pool:
        assert all(pool.map(_read_all, [files] * 12))
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(_read_all, [files] * 12))
    assert _read_all(pickle.loads(pickle.dumps(files)))


def test_a_path_is_found_in_the_zip_of_any_folder_above_it(tmp_path: Path) -> None:
    with ImageZipWriter(tmp_path / "images" / "deep.zip") as writer:
        writer.add("a/b/1.jpg", b"one")
    files = ImageFiles(tmp_path)
    assert files.read("images/deep/a/b/1.jpg") == b"one"
    with pytest.raises(MissingFileError):
        files.read("images/deep/a/2.jpg")


def test_a_plain_folder_takes_precedence_over_a_zip(zip_path: Path) -> None:
    folder = zip_path.with_suffix("")
    folder.mkdir()
    (folder / "0.jpg").write_bytes(b"plain")
    files = ImageFiles(zip_path.parents[1])
    assert files.read("images/photographs/0.jpg") == b"plain"
    with pytest.raises(MissingFileError, match="there is no such file"):
        files.read("images/photographs/1.jpg")
