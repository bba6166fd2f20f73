"""ReferIt's original queries and masks: in REFER's form, pixel by pixel; what is wrong is reported."""

import itertools
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from tiny_queries import (
    ALL,
    TinyQueries,
    crops_of,
    mat,
    only_issue,
    square,
)

from s2rm.config.benchmarks import get_benchmark
from s2rm.core.errors import UserError
from s2rm.data.rle import decode
from s2rm.refer.issues import Issues
from s2rm.refer.masks import rasterise
from s2rm.refer.referents import read_instances, read_referents
from s2rm.refer.referit import MASKS, load_queries, mentioned_crops

REFERIT = get_benchmark("referit_berkeley")

# --- sound files


@pytest.mark.parametrize("sentence", ["sent", "raw"])
def test_referents_and_masks_are_those_of_the_files_without_any_issue(
    tiny: TinyQueries, sentence: Any
) -> None:
    refs, instances, issues = tiny.load()
    referents = read_referents(refs, read_instances(instances, issues), REFERIT, sentence, issues)
    assert issues.report() == {}
    found = {
        (referent.image.file_name, referent.split, referent.annotation.box): (
            referent.image.height,
            referent.image.width,
            referent.category,
            [sentence.expression for sentence in referent.sentences],
        )
        for referent in referents
    }
    assert found == {
        ("9.jpg", "train", (3, 5, 6, 4)): (20, 30, "", ["the sky", "any part of sky", "the sky"]),
        ("9.jpg", "train", (24, 16, 6, 4)): (20, 30, "", ["Man?"]),
        ("16.jpg", "val", (0, 0, 6, 4)): (24, 16, "", ["left tree"]),
        ("16.jpg", "test", (7, 20, 6, 4)): (24, 16, "", ["bottom"]),
    }
    for referent in referents:
        height, width = referent.image.height, referent.image.width
        mask = rasterise(referent.annotation.segmentation, height, width)
        left, top, _, _ = map(int, referent.annotation.box or ())
        np.testing.assert_array_equal(decode(mask.counts, height, width), square(height, width, top, left))


def test_records_have_the_form_of_refer(tiny: TinyQueries) -> None:
    refs, instances, _ = tiny.load()
    assert refs[1] == {
        "ref_id": 1,
        "ann_id": 1,
        "image_id": 9,
        "category_id": 0,
        "split": "train",
        "file_name": "9.jpg",
        "sent_ids": [1, 2, 3],
        "sentences": [
            {"sent_id": 1, "raw": "the sky", "sent": "the sky", "tokens": ["the", "sky"]},
            {
                "sent_id": 2,
                "raw": " any part  of sky ",
                "sent": "any part of sky",
                "tokens": ["any", "part", "of", "sky"],
            },
            {"sent_id": 3, "raw": "the sky", "sent": "the sky", "tokens": ["the", "sky"]},
        ],
    }
    annotation = instances["annotations"][1]
    segmentation = annotation.pop("segmentation")
    assert annotation == {
        "id": 1,
        "image_id": 9,
        "category_id": 0,
        "bbox": [3, 5, 6, 4],
        "area": 24,
        "iscrowd": 0,
    }
    assert segmentation["size"] == [20, 30]
    assert isinstance(segmentation["counts"], str)
    assert instances["images"] == [
        {"id": 9, "file_name": "9.jpg", "width": 30, "height": 20},
        {"id": 16, "file_name": "16.jpg", "width": 16, "height": 24},
    ]
    assert json.loads(json.dumps([refs, instances])) == [refs, instances]


def test_ids_follow_the_numbers_of_image_and_crop_not_the_order_of_the_files(tiny: TinyQueries) -> None:
    first = tiny.load()[:2]
    tiny.queries = {split: dict(reversed(queries.items())) for split, queries in tiny.queries.items()}
    tiny.sizes = dict(reversed(tiny.sizes.items()))
    tiny.mats = dict(reversed(tiny.mats.items()))
    assert tiny.load()[:2] == first
    assert crops_of(first[0]) == ALL
    assert [ref["ref_id"] for ref in first[0]] == [0, 1, 2, 3]
    assert list(itertools.chain(*(ref["sent_ids"] for ref in first[0]))) == list(range(6))


def test_ids_do_not_depend_on_the_masks(tiny: TinyQueries) -> None:
    refs, instances, _ = tiny.load()
    del tiny.mats["9_10.mat"]
    left, left_instances, _ = tiny.load()
    assert left == [refs[0], *refs[2:]]
    annotations = instances["annotations"]
    assert left_instances["annotations"] == [annotations[0], *annotations[2:]]


def test_crops_without_queries_and_queries_without_sentences_are_not_there(tiny: TinyQueries) -> None:
    before = tiny.load()[:2]
    tiny.queries["val"]["9_3"] = []
    tiny.queries["train"]["16_1"] = []
    tiny.queries["test"]["16_1"] = []
    tiny.sizes["11.jpg"] = [9, 9]
    tiny.boxes["11_1"] = [1, 1, 2, 2]
    tiny.mats["11_1.mat"] = b"never read"
    refs, instances, issues = tiny.load()
    assert (refs, instances) == before
    assert issues.report() == {}


def test_the_crops_to_fetch_depend_on_the_queries_alone(tiny: TinyQueries) -> None:
    tiny.queries["val"].update({"no key": ["it"], "9_3": []})
    tiny.write()
    for name in (MASKS, "referit_imsize.json", "referit_bbox.json"):
        (tiny.folder / name).unlink()
    assert [(crop.image_id, crop.key) for crop in mentioned_crops(tiny.folder)] == [
        (int(key.split("_")[0]), key) for key in ALL
    ]


@pytest.mark.parametrize("dtype", [bool, "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("compressed", [True, False])
def test_zero_is_foreground_and_any_other_number_background(
    tiny: TinyQueries, dtype: Any, compressed: bool
) -> None:
    mask = square(20, 30, 5, 3)
    values = (~mask).astype(dtype)
    if dtype is not bool:
        values[0] = 3
        values[1] = np.array(0.5 if np.dtype(dtype).kind == "f" else 2).astype(dtype)
    if np.dtype(dtype).kind in "if":
        values[2] = -1
    tiny.mats["9_10.mat"] = mat(compressed, other=np.ones(3), segimg_t=values, more=np.zeros((20, 30)))
    _, instances, issues = tiny.load()
    counts = instances["annotations"][1]["segmentation"]["counts"]
    np.testing.assert_array_equal(decode(counts, 20, 30), mask)
    assert issues.report() == {}


# --- issues of the queries, sizes and boxes


@pytest.mark.hostile
@pytest.mark.parametrize(
    "key",
    [
        *("abc", "", "9", "9_", "_9", "9_1_3", "../9_1", "9_10.png", "09_1", "9_01", "-9_1", "9 _1"),
        *("9_1\n", "٩_1", "9_1٩", "9_1\0", "\ud800_1", "9" * 19 + "_1", "9" * 5000 + "_1"),
    ],
)
def test_a_key_that_names_no_crop_is_reported_by_its_place(tiny: TinyQueries, key: str) -> None:
    tiny.queries["val"][key] = ["it"]
    refs, _, issues = tiny.load()
    assert only_issue(issues) == ("malformed_ref", 1, ["val query #1"])
    assert crops_of(refs) == ALL
    with pytest.raises(UserError, match=r"1 × malformed_ref \(first: val query #1: ") as caught:
        issues.refuse("referit")
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.hostile
@pytest.mark.parametrize("value", [None, "the sky", {"0": "the sky"}, 7, [7], ["the sky", None], [["sky"]]])
def test_a_query_that_is_not_a_list_of_sentences_is_left_out(tiny: TinyQueries, value: Any) -> None:
    tiny.queries["train"]["9_10"] = value
    refs, _, issues = tiny.load()
    assert only_issue(issues) == ("malformed_ref", 1, ["9_10"])
    assert crops_of(refs) == ["9_2", "16_1", "16_3"]


def test_a_crop_in_two_splits_is_left_out(tiny: TinyQueries) -> None:
    tiny.queries["val"]["9_10"] = tiny.queries["test"]["9_10"] = ["the sky"]
    tiny.queries["test"]["16_1"] = ["left\ttree"]
    tiny.queries["val"].update({"16_3": ["bottom"], "9_2": ["a man"]})
    tiny.queries["val"]["9_7"] = ["sky"]
    tiny.mats["9_7.mat"] = tiny.mats["9_2.mat"]
    refs, _, issues = tiny.load()
    assert only_issue(issues) == ("conflicting_ref", 4, ["16_1", "16_3", "9_10", "9_2"])
    assert [ref["sentences"][0]["raw"] for ref in refs] == ["sky"]


@pytest.mark.hostile
@pytest.mark.parametrize(
    "size",
    [
        *(None, 30, "3020", [30], [30, 20, 3], [30, "20"], [30.0, 20.0], [float("nan"), 20], [True, 20]),
        *([float("inf"), 20], [0, 20], [30, -20], [2**31, 2**31], [10**400, 20], {"0": 30, "1": 20}),
    ],
)
def test_images_of_unknown_size_are_left_out_with_their_crops(tiny: TinyQueries, size: Any) -> None:
    tiny.sizes["9.jpg"] = size
    refs, instances, issues = tiny.load()
    assert only_issue(issues) == ("image_size", 1, [9])
    assert crops_of(refs) == ["16_1", "16_3"]
    assert [image["id"] for image in instances["images"]] == [16]


def test_an_image_whose_size_is_not_on_record_is_left_out(tiny: TinyQueries) -> None:
    tiny.sizes["9"] = tiny.sizes.pop("9.jpg")
    refs, _, issues = tiny.load()
    assert only_issue(issues) == ("image_size", 1, [9])
    assert crops_of(refs) == ["16_1", "16_3"]


@pytest.mark.hostile
@pytest.mark.parametrize(
    "box",
    [
        *(None, 3, "3588", {"0": 3}, [], [3, 5, 8], [3, 5, 8, 8, 8], [3, 5, 8, "8"], [3, 5, 8, None]),
        *([3, 5, 8, float("nan")], [3, 5, 8, float("inf")], [0.5, 5, 8, 10**400]),
        *([3, 5, 8, 10**400], [3, 5, -8, 8]),
    ],
)
def test_an_invalid_box_is_replaced_by_the_masks(tiny: TinyQueries, box: Any) -> None:
    tiny.boxes["9_10"] = box
    refs, instances, issues = tiny.load()
    assert issues.report() == {}
    referents = read_referents(refs, read_instances(instances, issues), REFERIT, "sent", issues)
    assert only_issue(issues) == ("box_unknown", 1, [1])
    assert [referent.annotation.box for referent in referents][1] is None


def test_a_crop_without_a_box_is_kept(tiny: TinyQueries) -> None:
    del tiny.boxes["9_10"]
    refs, instances, _ = tiny.load()
    assert crops_of(refs) == ALL
    assert instances["annotations"][1]["bbox"] is None


NAMES = ["query_train", "query_val", "query_test", "imsize", "bbox"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"", "corrupt or truncated"),
        (b'{"9_10": ["the', "corrupt or truncated"),
        (b'{"9_10": "\xff"}', "corrupt or truncated"),
        (b"[" * 100_000, "corrupt or truncated"),
        (b"1" * 5000, "corrupt or truncated"),
        (b"[]", "holds list"),
        (b"null", "holds NoneType"),
    ],
)
def test_a_missing_or_corrupt_file_is_named(
    tiny: TinyQueries, name: str, content: bytes | None, message: str
) -> None:
    tiny.write()
    path = tiny.folder / f"referit_{name}.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{message}|{name}") as caught:
        load_queries(tiny.folder, Issues())
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_masks_and_a_corrupt_zip_are_named(tiny: TinyQueries) -> None:
    tiny.write()
    masks = tiny.folder / "masks.zip"
    data = bytearray(masks.read_bytes())
    with zipfile.ZipFile(masks) as archive:
        place = archive.getinfo("9_10.mat").header_offset
    data[place + 60] ^= 1
    masks.write_bytes(data)
    with pytest.raises(UserError, match=r"masks\.zip is corrupt at 9_10\.mat"):
        load_queries(tiny.folder, Issues())
    masks.unlink()
    with pytest.raises(UserError, match=r"masks\.zip"):
        load_queries(tiny.folder, Issues())


def test_a_missing_mask_is_reported(tiny: TinyQueries) -> None:
    del tiny.mats["9_10.mat"]
    refs, _, issues = tiny.load()
    assert only_issue(issues) == ("mask_missing", 1, ["9_10"])
    assert crops_of(refs) == ["9_2", "16_1", "16_3"]
