"""Data outside of the project: a change in them is seen, wherever they lie and whatever names them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clone import Clone, make_model_small
from own_data import digest_language_model, digest_own_data
from tiny_refer import TinyRefer

from s2rm.acquire.folder import require_folder
from s2rm.acquire.own_folder import find_folder
from s2rm.config.benchmarks import COCO_IMAGES
from s2rm.config.params import Data
from s2rm.core.errors import UserError

BENCHMARKS = ["refcoco_unc"]


@pytest.fixture
def folder(tiny_refer: TinyRefer) -> Path:
    tiny_refer.write()
    (tiny_refer.raw / "refcoco_unc").rename(tiny_refer.raw / "refcoco")
    return tiny_refer.raw


def touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: touch(folder / "refcoco/refs(unc).p"),
        lambda folder: (folder / "refcoco/instances.json").unlink(),
        lambda folder: (folder / "refcoco").rename(folder / "refcoco_unc"),
        lambda folder: touch(next((folder / COCO_IMAGES).iterdir())),
        lambda folder: next((folder / COCO_IMAGES).iterdir()).unlink(),
        lambda folder: (folder / COCO_IMAGES / "new.jpg").write_bytes(b""),
        lambda folder: (folder / f"{COCO_IMAGES}.zip").write_bytes(b""),
        lambda folder: shutil.rmtree(folder),
    ],
)
def test_what_changes_the_digest(folder: Path, change: Callable[[Path], object]) -> None:
    before = digest_own_data(folder, BENCHMARKS)
    change(folder)
    assert digest_own_data(folder, BENCHMARKS) != before


def test_what_does_not_change_the_digest(folder: Path) -> None:
    before = digest_own_data(folder, BENCHMARKS)
    (folder / "notes.txt").write_text("not read")
    (folder / "refcocog").mkdir()
    moved = folder.rename(folder.with_name("moved"))
    assert digest_own_data(moved, BENCHMARKS) == before
    assert digest_own_data(shutil.copytree(moved, folder), BENCHMARKS) == before


def test_the_variable_comes_first_and_a_relative_path_starts_at_the_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = Data(source="folder", folder="mine", benchmarks=["refcoco_unc"])
    monkeypatch.delenv("S2RM_REAL_DATA", raising=False)
    assert find_folder(data, tmp_path) == tmp_path / "mine"
    for inside in ("data/raw", "data/raw/mine", "x/../data/raw"):
        with pytest.raises(UserError, match="lies in data/raw, which DVC deletes: move it elsewhere"):
            find_folder(data.model_copy(update={"folder": inside}), tmp_path)
    monkeypatch.setenv("S2RM_REAL_DATA", str(tmp_path))
    assert find_folder(data, Path("/project")) == tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"no folder .*file: set \$S2RM_REAL_DATA to"):
        require_folder(tmp_path / "file", [])
    monkeypatch.setenv("S2RM_REAL_DATA", "~/data")
    assert find_folder(data, Path("/project")) == Path.home() / "data"


@pytest.mark.slow
def test_changed_or_exchanged_data_are_taken_over(folder: Path, tmp_path: Path) -> None:
    def use_folder(params: dict[str, Any]) -> None:
        make_model_small(params)
        params["data"] |= {"source": "folder", "folder": str(folder), "benchmarks": BENCHMARKS}
        params["runs"] = {"own": {"train_on": BENCHMARKS, "evaluate_on": BENCHMARKS}}
        params["preprocess"]["statistics"] = "warn"

    clone = Clone(tmp_path / "clone", use_folder)
    stages = ("repro", "preprocess@refcoco_unc")
    assert clone.ran(clone.dvc(*stages)) == ["download", "preprocess@refcoco_unc"]
    assert clone.ran(clone.dvc(*stages)) == []
    corrected = TinyRefer(tmp_path / "corrected")
    corrected.refs[0]["sentences"][0]["sent"] = "another sentence"
    corrected.write()
    shutil.copy(corrected.raw / "refcoco_unc/refs(unc).p", folder / "refcoco")
    assert clone.ran(clone.dvc(*stages)) == ["download", "preprocess@refcoco_unc"]
    other = shutil.copytree(folder, tmp_path / "other")
    clone.environment["S2RM_REAL_DATA"] = str(other)
    assert clone.ran(clone.dvc(*stages)) == [], "the same data elsewhere"
    touch(other / "refcoco/instances.json")
    assert clone.ran(clone.dvc(*stages)) == ["download"], "other files with the same content"


def test_a_language_model_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = digest_language_model(tmp_path)
    (tmp_path / "pytorch_model.bin").write_text("not taken")
    assert digest_language_model(tmp_path) == before
    (tmp_path / "model.safetensors").write_text("taken")
    assert digest_language_model(tmp_path) != before
