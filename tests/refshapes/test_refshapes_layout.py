"""What is written has the layout, the keys and the habits of genuine REFER data."""

import io
from collections import defaultdict
from pathlib import Path

import pytest
from PIL import Image

from s2rm.config.benchmarks import ALL_BENCHMARKS, BENCHMARKS
from s2rm.config.params import RefShapes
from s2rm.data.image_zip import ImageFiles, ZipImages
from s2rm.refshapes import write_refshapes
from s2rm.refshapes.write import image_id_of

REF_KEYS = {
    "ref_id", "ann_id", "image_id", "category_id", "file_name", "split", "sent_ids", "sentences",
}  # fmt: skip
ANNOTATION_KEYS = {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_keys_and_references(written, name):
    refs, instances = written.refs[name], written.instances[name]
    images = {image["id"]: image for image in instances["images"]}
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
    categories = {category["id"] for category in instances["categories"]}
    assert set(instances) == {"info", "licenses", "images", "annotations", "categories"}
    assert len(annotations) == len(instances["annotations"])
    for annotation in annotations.values():
        assert set(annotation) == ANNOTATION_KEYS
        assert annotation["image_id"] in images
        assert annotation["category_id"] in categories
    assert len({ref["ref_id"] for ref in refs}) == len(refs)
    for ref in refs:
        assert set(ref) == REF_KEYS
        assert annotations[ref["ann_id"]]["image_id"] == ref["image_id"]
        assert annotations[ref["ann_id"]]["category_id"] == ref["category_id"]
        stem = Path(images[ref["image_id"]]["file_name"]).stem
        assert ref["file_name"] == f"{stem}_{ref['ann_id']}.jpg"
        assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
        for sentence in ref["sentences"]:
            assert set(sentence) == {"sent_id", "raw", "sent", "tokens"}
            assert sentence["sent"] == sentence["sent"].lower()
            assert sentence["tokens"] == sentence["sent"].split()
            assert sentence["raw"].lower().rstrip(".") == sentence["sent"]
    sent_ids = [sent_id for ref in refs for sent_id in ref["sent_ids"]]
    assert len(set(sent_ids)) == len(sent_ids)
    assert len({ref["ann_id"] for ref in refs}) < len(annotations), "unreferred things are annotated too"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_images(written, name):
    benchmark, images = BENCHMARKS[name], written.instances[name]["images"]
    for image in images:
        data = ImageFiles(written.root).read(f"{benchmark.images}/{image['file_name']}")
        with Image.open(io.BytesIO(data)) as opened:
            assert (opened.format, opened.size) == ("JPEG", (image["width"], image["height"]))
        stem = f"{image['id']}" if name == "referit_berkeley" else f"COCO_train2014_{image['id']:012d}"
        assert image["file_name"] == f"{stem}.jpg"
        assert 96 <= min(image["width"], image["height"]) <= 160
    sizes = [(image["width"], image["height"]) for image in images]
    assert len(set(sizes)) >= 6
    assert sum(width != height for width, height in sizes) > 0.7 * len(sizes)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_counts_and_amount_of_language(written, name):
    by_split = defaultdict(set)
    for ref in written.refs[name]:
        by_split[ref["split"]].add(ref["image_id"])
    assert {split: len(images) for split, images in by_split.items()} == {
        split: 30 if split == "train" else 10 for split in BENCHMARKS[name].splits
    }
    sentences = sum(len(ref["sentences"]) for ref in written.refs[name])
    assert 4 <= sentences / len(written.instances[name]["images"]) <= 6.5


def test_image_ids_and_files_are_unique_over_all_splits(written):
    owners = defaultdict(set)
    for name, refs in written.refs.items():
        for ref in refs:
            owners[ref["image_id"]].add((name, ref["split"]))
    assert all(len(owner) == 1 for owner in owners.values())
    files = [image["file_name"] for each in written.instances.values() for image in each["images"]]
    assert len(set(files)) == len(files) == len(owners)


def test_a_later_benchmark_has_ids_of_its_own_and_changes_no_others():
    slots = [(name, split) for name, each in ALL_BENCHMARKS.items() for split in each.splits]
    ids = [image_id_of(*slot, index) for slot in slots for index in (*range(50), 10_000)]
    assert len(set(ids)) == len(ids)
    assert image_id_of("refcoco_unc", "val", 0) == 2
    assert image_id_of("refshapes_structured", "val", 249) == 18 * 250


@pytest.mark.parametrize("smallest_shared", [1, 1_000_000], ids=["several processes", "one process"])
def test_same_seed_same_bytes_whichever_benchmarks_are_asked_for(
    written, tmp_path, monkeypatch, smallest_shared
):
    monkeypatch.setattr("s2rm.refshapes.write._SMALLEST_SHARED", smallest_shared)
    params = RefShapes(
        seed=7, train_images=30, eval_images=10, structured_train_images=30, structured_eval_images=10
    )
    write_refshapes(params, ["referit_berkeley", "refcoco_plus_unc"], tmp_path, progress=False)
    again = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(again) == 2 * 3 + 2  # refs, instances and origin of each; one zip per image folder
    for path in again:
        if path.suffix != ".zip":
            assert (tmp_path / path).read_bytes() == (written.root / path).read_bytes()
            continue
        mine, all_ = (
            ZipImages(tmp_path / path),
            ZipImages(written.root / path),
        )  # that of COCO has more benchmarks' images
        assert len(list(mine.names())) in (50, 60)
        assert all(mine.read(name) == all_.read(name) for name in mine.names())


def test_another_seed_is_another_dataset(written, tmp_path):
    write_refshapes(
        RefShapes(
            seed=8, train_images=30, eval_images=10, structured_train_images=30, structured_eval_images=10
        ),
        ["refcocog_google"],
        tmp_path,
        progress=False,
    )
    name = "refcocog_google/instances.json"
    assert (tmp_path / name).read_bytes() != (written.root / name).read_bytes()
