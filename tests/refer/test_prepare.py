"""The prepared tables: their columns, order and bytes, and the statistics."""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_queries import TinyQueries
from tiny_refer import TinyRefer

from s2rm.acquire.folder import lay_out_folder
from s2rm.config.benchmarks import BENCHMARKS
from s2rm.config.params import Preprocess
from s2rm.core.errors import UserError
from s2rm.data.image_zip import ImageFiles
from s2rm.data.rle import decode
from s2rm.data.table import OBJECT_SCHEMA, SCHEMA, load_objects, load_table
from s2rm.refer.masks import rasterise
from s2rm.refer.prepare import prepare
from s2rm.refer.provenance import Provenance, write_provenance

COLUMNS = (
    "benchmark split image_id image_path height width ref_id ann_id sent_id expression category box "
    "mask_rle mask_area"
)
OBJECT_COLUMNS = "benchmark image_id image_path height width ann_id category box mask_rle mask_area"


def test_a_row_says_all_about_an_expression(tiny_refer: TinyRefer) -> None:
    table, _ = tiny_refer.prepare()
    assert " ".join(table.columns) == COLUMNS
    row = table.iloc[2].to_dict()
    mask = decode(row.pop("mask_rle"), 20, 30)
    assert mask[4:12, 18:26].all()
    assert mask.sum() == 64
    assert row.pop("box").tolist() == [17.5, 4.0, 9.0, 8.0]
    assert row == {
        "benchmark": "refcoco_unc",
        "split": "train",
        "image_id": 1,
        "image_path": "images/mscoco/images/train2014/1.png",
        "height": 20,
        "width": 30,
        "ref_id": 2,
        "ann_id": 102,
        "sent_id": 20,
        "expression": "right one",
        "category": "shape",
        "mask_area": 64,
    }


def test_expressions_are_the_chosen_sentences(tiny_refer: TinyRefer) -> None:
    tiny_refer.refs[0]["sentences"][0].update(sent="  left \t one\n", raw=" LEFT  one?? ")
    cleaned, statistics = tiny_refer.prepare(sentence="sent")
    assert statistics["sentence"] == "sent"
    typed, statistics = tiny_refer.prepare(sentence="raw")
    assert statistics["sentence"] == "raw"
    assert cleaned["expression"].tolist()[:2] == ["left one", "the one on the left"]
    assert typed["expression"].tolist()[:2] == ["LEFT one??", "THE ONE ON THE LEFT!"]


def test_the_order_is_of_splits_images_refs_sentences(tiny_refer: TinyRefer) -> None:
    first, _ = tiny_refer.prepare()
    for records in (tiny_refer.refs, *tiny_refer.instances.values()):
        random.Random(3).shuffle(records)
    tiny_refer.refs[0]["sent_ids"].reverse()  # not the sentences: their order is the ref's own
    again, _ = tiny_refer.prepare()
    pd.testing.assert_frame_equal(first, again)
    tiny_refer.refs.sort(key=lambda ref: ref["ref_id"])
    tiny_refer.refs[0]["split"] = "testA"
    tiny_refer.refs[0]["sentences"].reverse()
    assert tiny_refer.prepare()[0]["sent_id"].tolist() == [20, 30, 31, 32, 11, 10]


def test_the_same_data_gives_the_same_bytes(tiny_refer: TinyRefer) -> None:
    prepared = tiny_refer.raw.parent / "prepared"
    tiny_refer.prepare()
    first = {path.name: path.read_bytes() for path in prepared.iterdir()}
    tiny_refer.prepare()
    assert {path.name: path.read_bytes() for path in prepared.iterdir()} == first
    assert first.keys() == {"refcoco_unc.parquet", "refcoco_unc-objects.parquet", "refcoco_unc.json"}


def test_statistics_count_each_split(tiny_refer: TinyRefer) -> None:
    tiny_refer.sizes["2.png"] = (20, 20)
    tiny_refer.instances["images"][1]["width"] = 20
    _, statistics = tiny_refer.prepare()
    assert json.loads((tiny_refer.raw.parent / "prepared" / "refcoco_unc.json").read_text()) == statistics
    train = {
        "images": 1,
        "refs": 2,
        "expressions": 3,
        "tokens_mean": 3.0,
        "tokens_max": 5,
        "mask_share_mean": round(64 / 600, 6),
        "not_square_share": 1.0,
    }
    val = {**train, "refs": 1, "expressions": 3, "tokens_mean": 2.6667, "tokens_max": 5}
    val |= {"mask_share_mean": 0.16, "not_square_share": 0.0}
    assert statistics["splits"] == {"train": train, "val": val}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_benchmark_is_read_from_its_own_place(tiny_refer: TinyRefer, benchmark: str) -> None:
    tiny_refer.benchmark = benchmark
    table, _ = tiny_refer.prepare("refuse")
    assert set(table["benchmark"]) == {benchmark}
    assert all((tiny_refer.raw / path).is_file() for path in table["image_path"])


def test_nothing_usable_is_an_error_that_says_why(tiny_refer: TinyRefer) -> None:
    tiny_refer.sizes = {}
    for annotation in tiny_refer.instances["annotations"]:
        del annotation["bbox"]  # for which nothing is left out
    with pytest.raises(
        UserError,
        match=r"no usable expression: 2 × image_missing \(first: image 1, '.*/1\.png' does not exist\)$",
    ):
        tiny_refer.prepare()


@pytest.mark.parametrize("name", ["refs(unc).p", "instances.json"])
def test_a_missing_file_is_named(tiny_refer: TinyRefer, name: str) -> None:
    tiny_refer.write()
    (tiny_refer.folder / name).unlink()
    with pytest.raises(UserError) as caught:
        prepare(
            "refcoco_unc",
            tiny_refer.raw,
            tiny_refer.raw,
            Preprocess(sentence="sent", faults="repair", statistics="refuse"),
        )
    assert str(tiny_refer.folder / name) in str(caught.value)


def test_a_table_that_is_missing_or_not_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.parquet is missing"):
        load_table(tmp_path / "a.parquet")
    for content in (b"", b"PAR1 but not really PAR1"):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.parquet is not a readable Parquet file"):
            load_table(tmp_path / "a.parquet")


@pytest.mark.hostile
def test_a_damaged_table_is_named(tiny_refer: TinyRefer) -> None:
    tiny_refer.prepare()
    path = tiny_refer.raw.parent / "prepared" / "refcoco_unc.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="is not a readable Parquet file"):
        load_table(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("mask_rle"), "mask_rle is missing"),
        (lambda table: table.append_column("more", pa.array([1] * len(table))), "more is unknown"),
        (
            lambda table: table.set_column(2, "image_id", pa.array(["1"] * len(table))),
            "image_id is string, not int64",
        ),
        (lambda table: table.select(COLUMNS.split()[::-1]), "their order"),
    ],
)
def test_another_schema_is_refused(tiny_refer: TinyRefer, change: Any, message: str) -> None:
    tiny_refer.prepare()
    path = tiny_refer.raw.parent / "prepared" / "refcoco_unc.parquet"
    pq.write_table(change(pq.ParquetFile(path).read()), path)
    with pytest.raises(UserError, match=f"other columns than expected: {message}"):
        load_table(path)


def test_one_table_is_not_taken_for_the_other(tiny_refer: TinyRefer) -> None:
    tiny_refer.prepare()
    prepared = tiny_refer.raw.parent / "prepared"
    with pytest.raises(UserError, match="other columns than expected: split is missing; prepare it again"):
        load_table(prepared / "refcoco_unc-objects.parquet")
    with pytest.raises(UserError, match="other columns than expected: split is unknown; prepare it again"):
        load_objects(prepared / "refcoco_unc.parquet")


def annotate(tiny_refer: TinyRefer, ann_id: int, image_id: int, segmentation: Any, **more: Any) -> None:
    """Adds an object that nothing refers to."""
    record = {"id": ann_id, "image_id": image_id, "segmentation": segmentation, **more}
    tiny_refer.instances["annotations"].append(record)


SQUARE = [[2, 4, 10, 4, 10, 12, 2, 12]]


def test_every_annotated_object_of_the_images_is_kept(tiny_refer: TinyRefer) -> None:
    annotate(tiny_refer, 7, 2, SQUARE, category_id=2, bbox=[2, 4, 8, 8])
    annotate(tiny_refer, 999, 1, {"size": [20, 30], "counts": [590, 10]})
    table, statistics = tiny_refer.prepare()
    objects = tiny_refer.objects()
    assert " ".join(objects.columns) == OBJECT_COLUMNS
    assert objects[["image_id", "ann_id"]].values.tolist() == [[1, 101], [1, 102], [1, 999], [2, 7], [2, 103]]
    assert statistics["objects"] == {"objects": 5, "without_mask": 0}
    row = objects.iloc[3].to_dict()
    assert decode(row.pop("mask_rle"), 20, 30)[4:12, 2:10].all()
    assert row.pop("box").tolist() == [2, 4, 8, 8]
    assert row == {
        "benchmark": "refcoco_unc",
        "image_id": 2,
        "image_path": "images/mscoco/images/train2014/2.png",
        "height": 20,
        "width": 30,
        "ann_id": 7,
        "category": "other",
        "mask_area": 64,
    }
    assert objects.iloc[2][["category", "mask_area"]].tolist() == ["", 10]
    assert objects.iloc[2]["box"].tolist() == [29, 10, 1, 10], "where none is annotated it is the mask's"
    referred = table.drop_duplicates("ann_id").set_index("ann_id")
    same = objects.set_index("ann_id").loc[referred.index]
    pd.testing.assert_frame_equal(same, referred[same.columns])


def test_only_the_images_of_the_expressions_count(tiny_refer: TinyRefer) -> None:
    tiny_refer.refs.pop()
    annotate(tiny_refer, 999, 3, SQUARE)
    tiny_refer.prepare()
    assert tiny_refer.objects()["ann_id"].tolist() == [101, 102]


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1, 1, 5, 5]],
        [[31, 1, 40, 1, 40, 9]],
        {"size": [30, 20], "counts": [600]},
        [[1, 2, 3, 4, 5]],
        [None],
    ],
)
def test_an_object_without_a_mask_is_counted_and_not_an_issue(
    tiny_refer: TinyRefer, segmentation: Any
) -> None:
    fields = {"category_id": 1, "bbox": [1, 2, 3, 4]}
    annotate(tiny_refer, 7, 2, segmentation, **fields)
    annotate(tiny_refer, 8, 2, [[-8, 4, 10, 4, 10, 12, -8, 12]], **fields)  # clipped: not an issue either
    before, _ = tiny_refer.prepare("refuse")
    table, statistics = tiny_refer.prepare("repair")
    assert statistics["faults"] == {}
    assert statistics["objects"] == {"objects": 4, "without_mask": 1}
    assert tiny_refer.objects()["ann_id"].tolist() == [101, 102, 8, 103]
    pd.testing.assert_frame_equal(table, before)


def test_a_referred_object_without_a_mask_is_an_issue_and_counted(tiny_refer: TinyRefer) -> None:
    tiny_refer.instances["annotations"][0]["segmentation"] = []
    _, statistics = tiny_refer.prepare()
    assert statistics["faults"]["mask_empty"]["count"] == 1
    assert statistics["objects"] == {"objects": 2, "without_mask": 1}


def test_an_annotation_is_rasterised_once_and_its_issues_count_for_each_ref(
    tiny_refer: TinyRefer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def count(*arguments: Any) -> Any:
        calls.append(arguments)
        return rasterise(*arguments)

    monkeypatch.setattr("s2rm.refer.prepare.rasterise", count)
    tiny_refer.instances["annotations"][0]["segmentation"] = [[-8, 4, 10, 4, 10, 12, -8, 12]]
    tiny_refer.instances["annotations"][1]["segmentation"] = []
    for ref_id, index in ((4, 0), (5, 1)):
        sentences = [{**tiny_refer.refs[index]["sentences"][0], "sent_id": ref_id}]
        tiny_refer.refs.append({**tiny_refer.refs[index], "ref_id": ref_id, "sentences": sentences})
    _, statistics = tiny_refer.prepare()
    assert len(calls) == 3
    assert {kind: issue["count"] for kind, issue in statistics["faults"].items()} == {
        "polygon_clipped": 2,
        "mask_empty": 2,
    }


def test_the_objects_of_referit_by_queries_are_its_crops(tmp_path: Path) -> None:
    queries = TinyQueries(tmp_path / "raw" / "referit_berkeley")
    queries.folder.parent.mkdir()
    queries.write()
    write_provenance(queries.folder, Provenance("refshapes", "queries"))
    images = tmp_path / "raw" / "images" / "saiapr_tc-12"
    images.mkdir(parents=True)
    for name, size in queries.sizes.items():
        Image.new("RGB", tuple(size)).save(images / name, "JPEG")
    settings = Preprocess(sentence="sent", faults="refuse", statistics="refuse")
    statistics = prepare("referit_berkeley", tmp_path / "raw", tmp_path, settings)
    assert statistics["objects"] == {"objects": 4, "without_mask": 0}
    objects = load_objects(tmp_path / "referit_berkeley-objects.parquet")
    assert objects[["image_id", "ann_id", "mask_area"]].values.tolist() == [
        [9, 0, 24],
        [9, 1, 24],
        [16, 2, 24],
        [16, 3, 24],
    ]


@pytest.mark.real
def test_real_data_goes_through(real_data: Path, tmp_path: Path) -> None:
    lay_out_folder(real_data, ["refcoco_unc"], tmp_path / "raw")
    statistics = prepare(
        "refcoco_unc",
        tmp_path / "raw",
        tmp_path / "prepared",
        Preprocess(sentence="sent", faults="refuse", statistics="warn"),
    )
    assert statistics["faults"] == {}
    assert list(statistics["splits"]) == ["val", "testA", "testB"]
    table = load_table(tmp_path / "prepared" / "refcoco_unc.parquet")
    assert (len(table), table["ref_id"].nunique(), table["image_id"].nunique()) == (96, 33, 12)
    assert table["sent_id"].is_unique

    instances = json.loads((real_data / "refcoco" / "instances.json").read_text())
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
    for row in table.drop_duplicates("ref_id").itertuples():
        assert ImageFiles(tmp_path / "raw").read(row.image_path)[:2] == b"\xff\xd8"
        annotation = annotations[row.ann_id]
        assert annotation["image_id"] == row.image_id
        assert row.box.tolist() == annotation["bbox"]
        # COCO's own area is of the exact polygons
        assert row.mask_area == pytest.approx(annotation["area"], rel=0.03, abs=60)
        assert decode(row.mask_rle, row.height, row.width).sum() == row.mask_area
    objects = load_objects(tmp_path / "prepared" / "refcoco_unc-objects.parquet")
    assert statistics["objects"] == {"objects": len(objects), "without_mask": 0}
    assert set(objects["image_id"]) == set(table["image_id"])
    assert sorted(objects["ann_id"]) == sorted(
        number for number, each in annotations.items() if each["image_id"] in set(table["image_id"])
    )


def test_the_schema_has_the_contracts_columns() -> None:
    assert " ".join(SCHEMA.names) == COLUMNS
    assert " ".join(OBJECT_SCHEMA.names) == OBJECT_COLUMNS
