"""REFER's files with random damage give a sound table or one line, never another error."""

import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from mutations import MORE_VALUES, VALUES, is_one_line, mutate_bytes, mutate_tree, randoms
from tiny_refer import TinyRefer

from s2rm.acquire.folder import lay_out_folder
from s2rm.core.errors import UserError
from s2rm.data.image_zip import ImageFiles
from s2rm.data.images import decode_image
from s2rm.data.rle import decode

pytestmark = pytest.mark.fuzz


def is_sound(tiny: TinyRefer) -> None:
    """Lay the data out, prepare them, and check the table, or that the error is one line."""
    try:
        lay_out_folder(tiny.raw, [tiny.benchmark], tiny.raw.parent / "laid")
        tiny.raw = tiny.raw.parent / "laid"
        table, statistics = tiny.prepare(statistics="warn")  # also checks the schema
    except UserError as error:
        assert is_one_line(error), str(error)  # noqa: PT017
        return
    assert len(table)
    assert table["sent_id"].is_unique
    assert table["expression"].str.strip().ne("").all()
    assert set(table["split"]) <= {"train", "val", "testA", "testB"}
    files = ImageFiles(tiny.raw)
    for row in table.itertuples():
        mask = decode(row.mask_rle, row.height, row.width)
        assert mask.sum() == row.mask_area > 0
        assert decode_image(files.read(row.image_path), "").size == (row.width, row.height)
    expressions = sum(split["expressions"] for split in statistics["splits"].values())
    assert expressions == len(table) >= statistics["left_out"]


def damage(change: Callable[[TinyRefer], Any]) -> None:
    """Write the tiny data, change the files, and check what comes of them."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = TinyRefer(Path(folder) / "raw")
        tiny.write()
        change(tiny)
        tiny.write = lambda: None  # type: ignore[method-assign]
        is_sound(tiny)


def change_refs(tiny: TinyRefer, random: Random) -> None:
    refs = mutate_tree(tiny.refs, random, VALUES + MORE_VALUES)
    (tiny.folder / "refs(unc).p").write_bytes(pickle.dumps(refs, random.choice([2, 4])))


def change_instances(tiny: TinyRefer, random: Random) -> None:
    (tiny.folder / "instances.json").write_text(json.dumps(mutate_tree(tiny.instances, random)))


def change_bytes(tiny: TinyRefer, random: Random) -> None:
    path = tiny.folder / random.choice(["refs(unc).p", "instances.json"])
    path.write_bytes(mutate_bytes(path.read_bytes(), random))


def change_images(tiny: TinyRefer, random: Random) -> None:
    for path in tiny.images.iterdir():
        if random.random() < 0.6:
            path.write_bytes(mutate_bytes(path.read_bytes(), random))


CHANGES = [change_refs, change_instances, change_bytes, change_images]
changes = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


@changes
@given(random=randoms)
@settings(max_examples=50)
def test_damaged_files_give_a_sound_table_or_one_line(
    change: Callable[[TinyRefer, Random], None], random: Random
) -> None:
    damage(lambda tiny: change(tiny, random))


@pytest.mark.slow
@changes
@given(random=randoms)
@settings(max_examples=200)
def test_files_damaged_in_many_ways_give_a_sound_table_or_one_line(
    change: Callable[[TinyRefer, Random], None], random: Random
) -> None:
    damage(lambda tiny: change(tiny, random))
