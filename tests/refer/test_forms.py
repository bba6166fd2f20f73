"""What label tools and scripts write: clear forms are read and said, the rest is refused with reasons."""

import copy
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_refer import TinyRefer

from s2rm.core.errors import UserError
from s2rm.refer.forms import name_images, number_of_image, read_numbers, read_split
from s2rm.refer.issues import MOST_KINDS, RULES, Issues

Records = list[dict[str, Any]]
Change = Callable[[TinyRefer], Any]


def each(records: Records, **values: Callable[[Any], Any]) -> None:
    for record in records:
        for key, change in values.items():
            record[key] = change(record[key])


def without(records: Records, *keys: str) -> None:
    for record in records:
        for key in keys:
            del record[key]


def sentences(tiny: TinyRefer) -> Records:
    return [sentence for ref in tiny.refs for sentence in ref["sentences"]]


def images(tiny: TinyRefer) -> Records:
    return tiny.instances["images"]


def annotations(tiny: TinyRefer) -> Records:
    return tiny.instances["annotations"]


def points(segmentation: list[list[float]]) -> list[list[float]]:
    flat = segmentation[0]
    return [flat[i : i + 2] for i in range(0, len(flat), 2)]


# what is read, by which name it is said, and whether the sentences keep their ids
READ: list[tuple[Change, str | None, bool]] = [
    (lambda tiny: each(annotations(tiny), id=str, image_id=str, category_id=str), "number_form", True),
    (
        lambda tiny: each(images(tiny), id=str, height=str, width=lambda width: f" {width} "),
        "number_form",
        True,
    ),
    (lambda tiny: each(images(tiny), id=float, height=float), "number_form", True),
    (
        lambda tiny: each(tiny.refs, ref_id=str, image_id=float, ann_id=lambda i: f"{i:012}"),
        "number_form",
        True,
    ),
    (lambda tiny: each(sentences(tiny), sent_id=str), "number_form", True),
    (
        lambda tiny: each(tiny.refs, ref_id=np.int64, image_id=np.int32, ann_id=np.float64),
        "number_form",
        True,
    ),
    (lambda tiny: each(sentences(tiny), sent_id=np.uint16, sent=np.str_), None, True),
    (lambda tiny: each(tiny.refs, image_id=lambda i: f"{i}.png"), "number_form", True),
    (lambda tiny: each(annotations(tiny), image_id=lambda i: f"{i}"), "number_form", True),
    (lambda tiny: without(images(tiny), "id"), "number_form", True),
    (lambda tiny: without(images(tiny), "height", "width"), "size_from_image", True),
    (lambda tiny: each(images(tiny), height=lambda _: 0), "size_from_image", True),
    (lambda tiny: each(images(tiny), width=lambda _: None), "size_from_image", True),
    (lambda tiny: each(annotations(tiny), segmentation=lambda polygons: polygons[0]), "polygon_form", True),
    (lambda tiny: each(annotations(tiny), segmentation=points), "polygon_form", True),
    (lambda tiny: each(annotations(tiny), segmentation=lambda each: [points(each)]), "polygon_form", True),
    (lambda tiny: without(sentences(tiny), "sent_id"), "sentence_numbered", False),
    (lambda tiny: each(sentences(tiny), sent_id=lambda _: None), "sentence_numbered", False),
    (lambda tiny: each(sentences(tiny), sent_id=lambda i: i % 10), "sentence_numbered", False),
    (lambda tiny: each(sentences(tiny), sent_id=lambda _: 0), "sentence_numbered", False),
    (lambda tiny: each(tiny.refs, sentences=lambda s: [each["sent"] for each in s]), "sentence_form", False),
    (
        lambda tiny: each(tiny.refs, sentences=lambda s: [{"raw": each["sent"]} for each in s]),
        "sentence_form",
        False,
    ),
    (lambda tiny: without(sentences(tiny), "raw", "tokens"), None, True),
    (lambda tiny: each(tiny.refs, sentences=tuple), None, True),
    (lambda tiny: setattr(tiny, "refs", tuple(tiny.refs)), None, True),
    (lambda tiny: each(tiny.refs, split=str.upper), "split_form", True),
    (lambda tiny: each(tiny.refs, split={"train": "training", "val": "validation"}.get), "split_form", True),
    (
        lambda tiny: [record.update(score=0.5, note={"a": [1]}) for record in [*images(tiny), *tiny.refs]],
        None,
        True,
    ),
]


@pytest.mark.parametrize(("change", "said", "own_ids"), READ)
def test_clear_forms_are_read_and_said(
    tiny_refer: TinyRefer, change: Change, said: str | None, own_ids: bool, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = copy.deepcopy(tiny_refer).prepare("refuse")
    change(tiny_refer)
    caplog.clear()
    with caplog.at_level(logging.INFO, "s2rm"):
        table, statistics = tiny_refer.prepare("refuse")
    if not own_ids:
        expected["sent_id"] = range(len(expected))
    assert table.drop(columns="box").equals(expected.drop(columns="box"))
    assert statistics["left_out"] == 0
    assert set(statistics["faults"]) >= {said} - {None}
    for kind in statistics["faults"]:
        (line,) = [message for message in caplog.messages if f"× {kind} (first: " in message]
        assert RULES[kind] in line


def test_numbers_do_not_depend_on_what_else_is_usable(tiny_refer: TinyRefer) -> None:
    without(sentences(tiny_refer), "sent_id")
    assert tiny_refer.prepare()[0]["sent_id"].tolist() == [0, 1, 2, 3, 4, 5]
    tiny_refer.refs[1]["ann_id"] = 999
    tiny_refer.refs[0]["sentences"][0]["sent"] = 7
    assert tiny_refer.prepare()[0]["sent_id"].tolist() == [1, 3, 4, 5]


def test_what_has_two_meanings_is_not_guessed() -> None:
    for value in (
        "1.5",
        "-1",
        "0x10",
        "1e3",
        "one",
        "",
        "1 2",
        "٣",
        1.5,
        float("nan"),
        float("inf"),
        True,
        1e30,
    ):
        record = {"id": value}
        assert read_numbers(record) == (record, [])
    assert name_images([(1, "a/1.png"), (2, "b/1.png")]) == {"a/1.png": 1, "b/1.png": 2}
    names = ("COCO_train2014_000000000009.jpg", "7.png", "left", "1a.png")
    assert [number_of_image(name) for name in names] == [9, 7, None, None]
    used = ("train", "val", "testA", "testB")
    assert [read_split(each, used) for each in ("Train", "testa", "testAB", "test", "dev", "testing")] == [
        "train", "testA", "testAB", "test", "dev", "testing",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["TIFF", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_images_of_other_formats_are_read(tiny_refer: TinyRefer, suffix: str, mode: str) -> None:
    tiny_refer.write()
    Image.new(mode, (30, 20)).save(tiny_refer.images / "1.png", format=suffix)
    tiny_refer.sizes = {}
    table, statistics = tiny_refer.prepare("refuse")
    assert len(table) == 6
    assert set(statistics["faults"]) <= {"image_converted"}


# (what is broken, the line)
REFUSED: list[tuple[Change, str]] = [
    (
        lambda tiny: without(annotations(tiny), "segmentation"),
        "malformed_annotation (first: annotation 101 in instances.json: it has a bbox "
        "but no segmentation, and a box is not a mask)",
    ),
    (
        lambda tiny: each(annotations(tiny), segmentation=lambda _: []),
        "mask_empty (first: annotation 101 of ref 1: it has no part (a bbox alone is not a mask))",
    ),
    (
        lambda tiny: each(annotations(tiny), segmentation=lambda s: [[x / 30 for x in s[0]]]),
        "malformed_segmentation (first: annotation 101 of ref 1: a polygon lies in 0…1: "
        "write its points in pixels)",
    ),
    (
        lambda tiny: each(annotations(tiny), segmentation=lambda _: {"size": [30, 20], "counts": [600]}),
        "mask_size (first: annotation 101 of ref 1: the RLE's size is [width, height], not [20, 30])",
    ),
    (
        lambda tiny: without(images(tiny), "file_name"),
        "malformed_image (first: image 1 in instances.json: file_name is missing)",
    ),
    (
        lambda tiny: each(tiny.refs, split=lambda _: "part 1"),
        "split_not_used (first: ref 1: split 'part 1' is none of train, val, testA, testB)",
    ),
    (
        lambda tiny: each(tiny.refs, ann_id=lambda i: i + 1000),
        "dangling_annotation (first: ref 1 of image 1, annotation 1101)",
    ),
    (
        lambda tiny: each(tiny.refs, ref_id=lambda i: f"ref-{i}"),
        "malformed_ref (first: ref #0 in the file of refs: ref_id is 'ref-1')",
    ),
    (
        lambda tiny: each(tiny.refs, sentences=lambda _: "left one"),
        "malformed_ref (first: ref 1 in the file of refs: sentences is 'left one')",
    ),
    (
        lambda tiny: each(sentences(tiny), sent=lambda _: 5),
        "malformed_sentence (first: sentence #0 of ref 1: sent is 5)",
    ),
    (
        lambda tiny: each(images(tiny), height=lambda _: 30, width=lambda _: 20),
        "image_size (first: image 1, 'images/mscoco/images/train2014/1.png' is 30 × 20, "
        "the record says 20 × 30)",
    ),
    (
        lambda tiny: tiny.sizes.clear(),
        "image_missing (first: image 1, 'images/mscoco/images/train2014/1.png' does not exist)",
    ),
]


@pytest.mark.parametrize(("change", "line"), REFUSED)
def test_where_nothing_is_left_the_first_record_is_named(
    tiny_refer: TinyRefer, change: Change, line: str
) -> None:
    change(tiny_refer)
    with pytest.raises(UserError) as caught:
        tiny_refer.prepare(statistics="warn")
    assert "no usable expression: " in str(caught.value)
    assert f" × {line}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_of_which_most_is_unusable_are_refused(tiny_refer: TinyRefer) -> None:
    """Half of them may be left out; one more, and it is another data set."""
    images(tiny_refer)[0]["file_name"] = 5  # of image 1: 3 of 6 expressions
    _, statistics = tiny_refer.prepare()
    assert statistics["left_out"] == 3
    sentences(tiny_refer)[-1]["sent"] = sentences(tiny_refer)[-1]["raw"] = ""
    with pytest.raises(UserError) as caught:
        tiny_refer.prepare(statistics="warn")
    assert "4 of 6 expressions (66.7 %) cannot be used, more than half: " in str(caught.value)
    for part in (
        "1 × malformed_image (first: image 1 in instances.json: file_name is 5)",
        "1 × empty_expression (first: sentence #2 of ref 3)",
        "correct these records, or take them out of the data",
    ):
        assert part in str(caught.value)


def test_splits_that_the_benchmark_does_not_use_are_not_left_out(tiny_refer: TinyRefer) -> None:
    tiny_refer.refs[2]["split"] = "testAB"
    _, statistics = tiny_refer.prepare("refuse")
    assert statistics["left_out"] == 0


def test_a_large_share_is_said_at_the_end(tiny_refer: TinyRefer, caplog: pytest.LogCaptureFixture) -> None:
    tiny_refer.refs[1]["ann_id"] = 999
    with caplog.at_level(logging.INFO, "s2rm"):
        tiny_refer.prepare()
    assert caplog.records[-1].levelname == "WARNING"
    assert caplog.messages[-1] == (
        "refcoco_unc: 1 of 6 expressions (16.7 %) are left out: 1 × dangling_annotation "
        "(first: ref 2 of image 1, annotation 999)"
    )


def test_a_line_is_one_line_and_not_endless() -> None:
    issues = Issues()
    for kind in RULES:
        issues.add(kind, 1, "a\nb \ud800" + 1000 * "x")
    line = issues.summarise(without=())
    assert "\n" not in line
    line.encode()
    assert line.count("(first:") == MOST_KINDS
    assert all(f"1 × {kind}" in line for kind in RULES)
    json.dumps(issues.report(), ensure_ascii=False).encode()


@pytest.mark.hostile
def test_lists_that_contain_themselves_are_data_or_one_line(tiny_refer: TinyRefer, tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (endless, {"sent": endless}, None):
        ref = copy.deepcopy(tiny_refer.refs[0]) | {"sentences": [value], "extra": endless}
        tiny_refer.refs += [ref, pickle.loads(pickle.dumps(ref))]
    with pytest.raises(UserError, match="cannot be used"):
        tiny_refer.prepare()
