"""Every kind of issue: found, named by id, and treated by its rule, or refused."""

import copy
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_refer import TinyRefer

from s2rm.core.errors import UserError
from s2rm.refer.issues import HARMLESS, LISTED, RULES

pytestmark = pytest.mark.hostile

ALL = [10, 11, 20, 30, 31, 32]  # sent_ids of the tiny data
Break = Callable[[TinyRefer], Any]


def ref(tiny: TinyRefer, index: int = 0) -> dict[str, Any]:
    return tiny.refs[index]


def sentence(tiny: TinyRefer, index: int = 0) -> dict[str, Any]:
    return tiny.refs[0]["sentences"][index]


def image(tiny: TinyRefer, index: int = 0) -> dict[str, Any]:
    return tiny.instances["images"][index]


def annotation(tiny: TinyRefer, index: int = 0) -> dict[str, Any]:
    return tiny.instances["annotations"][index]


def category(tiny: TinyRefer, index: int = 0) -> dict[str, Any]:
    return tiny.instances["categories"][index]


def repeat(records: list[Any], **changes: Any) -> None:
    records.append({**copy.deepcopy(records[0]), **changes})


def segment(*parts: Any) -> Break:
    return lambda tiny: annotation(tiny).update(segmentation=list(parts))


SQUARE = [2, 4, 10, 4, 10, 12, 2, 12]

# kind, id in the report, what is broken, sent_ids that are left
CASES: list[tuple[str, int | str, Break, list[int]]] = [
    ("size_from_image", 1, lambda tiny: image(tiny).pop("height"), ALL),
    ("malformed_image", 1, lambda tiny: image(tiny).pop("file_name"), [30, 31, 32]),
    ("number_form", 1, lambda tiny: image(tiny).update(width=30.0), ALL),
    ("malformed_image", 1, lambda tiny: image(tiny).update(width=30.5), [30, 31, 32]),
    ("size_from_image", 1, lambda tiny: image(tiny).update(width=0), ALL),
    ("malformed_image", 1, lambda tiny: image(tiny).update(width=-30), [30, 31, 32]),
    ("number_form", 1, lambda tiny: image(tiny).update(id="1"), ALL),
    (
        "malformed_image",
        "image #0",
        lambda tiny: image(tiny).update(id="one", file_name="one.png"),
        [30, 31, 32],
    ),
    ("malformed_image", "image #2", lambda tiny: tiny.instances["images"].append([]), ALL),
    ("duplicate_image", 1, lambda tiny: repeat(tiny.instances["images"]), ALL),
    ("conflicting_image", 1, lambda tiny: repeat(tiny.instances["images"], file_name="2.png"), [30, 31, 32]),
    ("image_missing", 1, lambda tiny: tiny.sizes.pop("1.png"), [30, 31, 32]),
    ("image_unreadable", 1, lambda tiny: image(tiny).update(file_name="text.png"), [30, 31, 32]),
    ("image_unreadable", 1, lambda tiny: image(tiny).update(file_name="cut.jpg"), [30, 31, 32]),
    ("image_unreadable", 1, lambda tiny: image(tiny).update(file_name="cut.png"), [30, 31, 32]),
    ("image_frames", 1, lambda tiny: image(tiny).update(file_name="frames.png"), ALL),
    (
        "image_unreadable",
        1,
        lambda tiny: image(tiny).update(file_name="huge.png", width=20_000, height=20_000),
        [30, 31, 32],
    ),
    (
        "image_unreadable",
        1,
        lambda tiny: image(tiny).update(file_name="large.png", width=9_000, height=9_000),
        [30, 31, 32],
    ),
    ("image_converted", 1, lambda tiny: image(tiny).update(file_name="grey.jpg"), ALL),
    ("image_converted", 1, lambda tiny: image(tiny).update(file_name="print.jpg"), ALL),
    ("image_converted", 1, lambda tiny: image(tiny).update(file_name="deep.png"), ALL),
    ("image_not_turned", 1, lambda tiny: image(tiny).update(file_name="turned.jpg"), ALL),
    ("image_size", 1, lambda tiny: tiny.sizes.update({"1.png": (20, 30)}), [30, 31, 32]),
    ("malformed_annotation", 101, lambda tiny: annotation(tiny).pop("segmentation"), [20, 30, 31, 32]),
    ("malformed_annotation", 101, lambda tiny: annotation(tiny).update(segmentation="P08"), [20, 30, 31, 32]),
    ("malformed_annotation", 101, lambda tiny: annotation(tiny).pop("image_id"), [20, 30, 31, 32]),
    (
        "malformed_annotation",
        "annotation #0",
        lambda tiny: annotation(tiny).update(id=True),
        [20, 30, 31, 32],
    ),
    (
        "malformed_annotation",
        "annotation #0",
        lambda tiny: annotation(tiny).update(id=2**63),
        [20, 30, 31, 32],
    ),
    ("duplicate_annotation", 101, lambda tiny: repeat(tiny.instances["annotations"]), ALL),
    (
        "conflicting_annotation",
        101,
        lambda tiny: repeat(tiny.instances["annotations"], segmentation=[[0, 0, 9, 0, 9, 9]]),
        [20, 30, 31, 32],
    ),
    ("malformed_category", 2, lambda tiny: category(tiny, 1).pop("name"), ALL),
    ("malformed_category", 2, lambda tiny: category(tiny, 1).update(name="\ud800"), ALL),
    ("duplicate_category", 1, lambda tiny: repeat(tiny.instances["categories"]), ALL),
    ("conflicting_category", 1, lambda tiny: repeat(tiny.instances["categories"], name="thing"), ALL),
    ("category_unknown", 101, lambda tiny: annotation(tiny).update(category_id=77), ALL),
    ("category_unknown", 101, lambda tiny: annotation(tiny).pop("category_id"), ALL),
    ("category_conflict", 1, lambda tiny: ref(tiny).update(category_id=2), ALL),
    ("category_conflict", 1, lambda tiny: ref(tiny).pop("category_id"), ALL),
    ("box_unknown", 101, lambda tiny: annotation(tiny).pop("bbox"), ALL),
    ("box_unknown", 101, lambda tiny: annotation(tiny).update(bbox=[1, 2, 3]), ALL),
    ("box_unknown", 101, lambda tiny: annotation(tiny).update(bbox=[1, 2, 3, "4"]), ALL),
    ("box_unknown", 101, lambda tiny: annotation(tiny).update(bbox=[1, 2, 3, 0]), ALL),
    ("box_unknown", 101, lambda tiny: annotation(tiny).update(bbox=[float("nan"), 2, 3, 4]), ALL),
    ("malformed_ref", 1, lambda tiny: ref(tiny).pop("image_id"), [20, 30, 31, 32]),
    ("malformed_ref", 1, lambda tiny: ref(tiny).pop("ann_id"), [20, 30, 31, 32]),
    ("malformed_ref", 1, lambda tiny: ref(tiny).pop("split"), [20, 30, 31, 32]),
    ("malformed_ref", 1, lambda tiny: ref(tiny).update(sentences=None), [20, 30, 31, 32]),
    ("malformed_ref", 1, lambda tiny: ref(tiny).update(ann_id=-1), [20, 30, 31, 32]),
    ("malformed_ref", "ref #0", lambda tiny: ref(tiny).update(ref_id="one"), [20, 30, 31, 32]),
    ("number_form", 1, lambda tiny: ref(tiny).update(ref_id="1"), ALL),
    ("split_form", 1, lambda tiny: ref(tiny).update(split="Training "), ALL),
    ("malformed_ref", "ref #3", lambda tiny: tiny.refs.append("ref"), ALL),
    ("duplicate_ref", 1, lambda tiny: repeat(tiny.refs), ALL),
    ("conflicting_ref", 1, lambda tiny: repeat(tiny.refs, split="val"), [20, 30, 31, 32]),
    ("split_not_used", 1, lambda tiny: ref(tiny).update(split="testAB"), [20, 30, 31, 32]),
    ("split_not_used", 1, lambda tiny: ref(tiny).update(split="test"), [20, 30, 31, 32]),
    ("dangling_image", 1, lambda tiny: ref(tiny).update(image_id=9), [20, 30, 31, 32]),
    ("dangling_image", 999, lambda tiny: repeat(tiny.instances["annotations"], id=999, image_id=9), ALL),
    ("dangling_annotation", 1, lambda tiny: ref(tiny).update(ann_id=9), [20, 30, 31, 32]),
    ("annotation_of_other_image", 1, lambda tiny: ref(tiny).update(image_id=2), [20, 30, 31, 32]),
    ("ref_without_sentences", 1, lambda tiny: ref(tiny).update(sentences=[]), [20, 30, 31, 32]),
    (
        "ref_without_sentences",
        2,
        lambda tiny: ref(tiny, 1)["sentences"][0].update(sent=" ", raw=""),
        [10, 11, 30, 31, 32],
    ),
    ("malformed_sentence", 10, lambda tiny: sentence(tiny).update(sent=None, raw=None), [11, 20, 30, 31, 32]),
    ("sentence_form", 10, lambda tiny: sentence(tiny).pop("sent"), ALL),
    ("malformed_sentence", 10, lambda tiny: sentence(tiny).update(sent=7), [11, 20, 30, 31, 32]),
    ("malformed_sentence", 10, lambda tiny: sentence(tiny).update(sent="\udcff"), [11, 20, 30, 31, 32]),
    ("sentence_numbered", "sentence #0 of ref 1", lambda tiny: sentence(tiny).pop("sent_id"), [*range(6)]),
    ("malformed_sentence", "sentence #2 of ref 1", lambda tiny: ref(tiny)["sentences"].append(7), ALL),
    ("empty_expression", 10, lambda tiny: sentence(tiny).update(sent=" \t\n", raw=" "), [11, 20, 30, 31, 32]),
    ("empty_expression", 10, lambda tiny: sentence(tiny).update(sent="", raw=None), [11, 20, 30, 31, 32]),
    ("expression_as_typed", 10, lambda tiny: sentence(tiny).update(sent="", raw="?"), ALL),
    ("duplicate_sentence", 10, lambda tiny: repeat(ref(tiny)["sentences"]), ALL),
    (
        "sentence_numbered",
        "sentence #2 of ref 1",
        lambda tiny: repeat(ref(tiny)["sentences"], sent="up"),
        [*range(7)],
    ),
    (
        "sentence_numbered",
        "sentence #0 of ref 2",
        lambda tiny: ref(tiny, 1)["sentences"][0].update(sent_id=11),
        [*range(6)],
    ),
    ("polygon_form", 101, segment(*SQUARE), ALL),
    ("polygon_points", 101, segment(SQUARE, [0, 0, 30, 20]), ALL),
    ("polygon_clipped", 101, segment([-8, 4, 10, 4, 10, 12, -8, 12]), ALL),
    ("polygon_outside", 101, segment(SQUARE, [31, 1, 40, 1, 40, 9]), ALL),
    ("malformed_segmentation", 101, segment(SQUARE, [1, 2, 3, 4, 5, None]), [20, 30, 31, 32]),
    ("malformed_segmentation", 101, segment({"size": [20, 30], "counts": [5]}), [20, 30, 31, 32]),
    ("mask_size", 101, segment({"size": [30, 20], "counts": [600]}), [20, 30, 31, 32]),
    ("mask_empty", 101, segment(), [20, 30, 31, 32]),
    ("mask_empty", 101, segment([3, 3, 3, 3, 3, 3]), [20, 30, 31, 32]),
]
cases = pytest.mark.parametrize(
    ("kind", "identifier", "break_", "left"), CASES, ids=[case[0] for case in CASES]
)


@cache
def odd_images() -> dict[str, bytes]:
    """Name → content; all but the largest are of 30 × 20 pixels, as the records say."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6

    def encode(image: Image.Image, suffix: str, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, {"jpg": "JPEG"}.get(suffix, suffix), **options)
        return file.getvalue()

    images = {
        "text.png": b"no image",
        "turned.jpg": encode(picture, "jpg", exif=turned),
        "grey.jpg": encode(picture.convert("L"), "jpg"),
        "print.jpg": encode(picture.convert("CMYK"), "jpg"),
        "deep.png": encode(Image.fromarray(np.full((20, 30), 40_000, dtype=np.uint16)), "png"),
        "frames.png": encode(picture, "png", save_all=True, append_images=[picture.rotate(90)]),
        "huge.png": encode(Image.new("1", (20_000, 20_000)), "png"),
        "large.png": encode(Image.new("1", (9_000, 9_000)), "png"),
    }
    for suffix in ("jpg", "png"):
        whole = encode(picture, suffix)
        images[f"whole.{suffix}"] = whole
        images[f"cut.{suffix}"] = whole[: len(whole) * 2 // 3]
        images[f"padded.{suffix}"] = whole + b"camera's own" * 20
    return images


def write_odd_images(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, data in odd_images().items():
        (folder / name).write_bytes(data)


@pytest.fixture
def broken(tiny_refer: TinyRefer, break_: Break) -> TinyRefer:
    write_odd_images(tiny_refer.images)
    break_(tiny_refer)
    return tiny_refer


def test_every_kind_has_a_case() -> None:
    of_queries = {"mask_missing", "mask_unreadable"}  # the other route's: test_referit.py
    assert {case[0] for case in CASES} == RULES.keys() - of_queries


@pytest.mark.parametrize("name", ["padded.jpg", "padded.png", "whole.jpg"])
def test_an_image_with_something_behind_its_end_is_sound(tiny_refer: TinyRefer, name: str) -> None:
    write_odd_images(tiny_refer.images)
    image(tiny_refer)["file_name"] = name
    assert sorted(tiny_refer.prepare("refuse")[0]["sent_id"]) == ALL


@cases
def test_an_issue_is_reported_and_treated_by_its_rule(
    broken: TinyRefer, kind: str, identifier: int | str, left: list[int]
) -> None:
    table, statistics = broken.prepare()
    fault = statistics["faults"][kind]
    assert "\n" not in fault.pop("first")
    assert fault == {"count": 1, "rule": RULES[kind], "ids": [identifier]}
    assert sorted(table["sent_id"]) == left


@cases
def test_an_issue_is_refused(broken: TinyRefer, kind: str, identifier: int | str, left: list[int]) -> None:
    if kind in HARMLESS:
        table, _ = broken.prepare("refuse")
        assert sorted(table["sent_id"]) == left
        return
    where = "sentence #. of ref 1" if identifier == 10 else identifier
    with pytest.raises(UserError, match=rf"1 × {kind} \(first: .*{where}") as caught:
        broken.prepare("refuse")
    assert "\n" not in str(caught.value)
    assert not (broken.raw.parent / "prepared").exists()


def test_sound_data_has_no_issues(tiny_refer: TinyRefer) -> None:
    table, statistics = tiny_refer.prepare("refuse")
    assert statistics["faults"] == {}
    assert table["sent_id"].tolist() == ALL


def test_refusing_names_each_kind_with_its_count_and_its_first_record(tiny_refer: TinyRefer) -> None:
    ref(tiny_refer, 0)["ann_id"] = 8
    ref(tiny_refer, 1)["ann_id"] = 9
    sentence_of_third = ref(tiny_refer, 2)["sentences"]
    sentence_of_third.append({"sent_id": 33, "sent": "", "raw": ""})
    with pytest.raises(
        UserError,
        match=r"2 × dangling_annotation \(first: ref 1 of image 1, annotation 8\); "
        r"1 × empty_expression \(first: sentence #3 of ref 3\); repair",
    ):
        tiny_refer.prepare("refuse")


def test_the_report_lists_the_first_ids_only(tiny_refer: TinyRefer) -> None:
    for number in range(50):
        repeat(tiny_refer.instances["annotations"], id=1000 + number, bbox=None)
    _, statistics = tiny_refer.prepare()
    issue = statistics["faults"]["box_unknown"]
    assert issue["count"] == 50
    assert issue["ids"] == list(range(1000, 1000 + LISTED))


def test_the_category_is_the_annotations(tiny_refer: TinyRefer) -> None:
    ref(tiny_refer)["category_id"] = 2
    annotation(tiny_refer, 1)["category_id"] = 77
    table, _ = tiny_refer.prepare()
    assert table["category"].tolist() == ["shape", "shape", "", *["shape"] * 3]


def test_a_box_that_is_missing_is_the_masks(tiny_refer: TinyRefer) -> None:
    annotation(tiny_refer).pop("bbox")
    boxes = tiny_refer.prepare()[0]["box"].map(list).tolist()
    assert boxes == [[2, 4, 8, 8], [2, 4, 8, 8], [17.5, 4, 9, 8], *[[9.5, 4, 9, 8]] * 3]


def test_the_images_own_name_counts_not_the_refs(tiny_refer: TinyRefer) -> None:
    table, _ = tiny_refer.prepare()
    assert set(table["image_path"]) == {f"images/mscoco/images/train2014/{i}.png" for i in (1, 2)}


def test_crowds_are_kept(tiny_refer: TinyRefer) -> None:
    annotation(tiny_refer)["iscrowd"] = 1
    assert sorted(tiny_refer.prepare("refuse")[0]["sent_id"]) == ALL


@pytest.mark.hostile
@pytest.mark.parametrize(
    "name",
    [
        "../1.png",
        "a/../../1.png",
        "/etc/passwd",
        "a\\1.png",
        "C:1.png",
        "",
        ".",
        "1\0.png",
    ],
)
@pytest.mark.parametrize("faults", ["repair", "refuse"])
def test_a_file_name_that_leads_elsewhere_is_refused(tiny_refer: TinyRefer, name: str, faults: Any) -> None:
    image(tiny_refer)["file_name"] = name
    with pytest.raises(UserError, match="must lie in the image folder"):
        tiny_refer.prepare(faults)


@pytest.mark.parametrize("name", ["./1.png", ".//1.png", "././1.png"])
def test_a_file_name_may_start_with_the_folder_itself(tiny_refer: TinyRefer, name: str) -> None:
    image(tiny_refer)["file_name"] = name
    table, _ = tiny_refer.prepare("refuse")
    assert set(table["image_path"]) == {f"images/mscoco/images/train2014/{i}.png" for i in (1, 2)}


def test_subfolders_of_the_image_folder_are_fine(tiny_refer: TinyRefer) -> None:
    (tiny_refer.images / "a").mkdir(parents=True)
    tiny_refer.sizes["a/1.png"] = tiny_refer.sizes.pop("1.png")
    image(tiny_refer)["file_name"] = "a/1.png"
    assert sorted(tiny_refer.prepare("refuse")[0]["sent_id"]) == ALL


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [', "corrupt or truncated"),
        (b"\xff\xfe\xfa", "corrupt or truncated"),
        (b"[" * 100_000, "corrupt or truncated"),
        (b"[]", "no list 'images'"),
        (json.dumps({"images": [], "annotations": {}, "categories": []}).encode(), "no list 'annotations'"),
        (json.dumps({"images": [], "annotations": []}).encode(), "no list 'categories'"),
    ],
)
def test_bad_instances_are_named(tiny_refer: TinyRefer, content: bytes, message: str) -> None:
    tiny_refer.write()
    (tiny_refer.folder / "instances.json").write_bytes(content)
    tiny_refer.write = lambda: None  # type: ignore[method-assign]
    with pytest.raises(UserError, match=f"instances.json.*{message}"):
        tiny_refer.prepare()


def test_refs_that_are_not_a_list_are_named(tiny_refer: TinyRefer) -> None:
    tiny_refer.refs = {"refs": []}  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"refs\(unc\)\.p holds dict"):
        tiny_refer.prepare()
