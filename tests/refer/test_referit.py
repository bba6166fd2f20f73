"""ReferIt's original queries and masks: in REFER's form, pixel by pixel; what is amiss is reported."""

import io
import itertools
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.matlab
import scipy.sparse
from tiny_queries import (
    COMPRESSED,
    DOUBLE,
    DOUBLE_CLASS,
    MATRIX,
    UINT8,
    TinyQueries,
    bomb,
    element,
    mat,
    mat_file,
    mat_of,
    matrix,
    square,
)

from s2rm.config.benchmarks import get_benchmark
from s2rm.core.errors import UserError
from s2rm.data.rle import decode
from s2rm.refer.issues import Issues
from s2rm.refer.masks import rasterise
from s2rm.refer.referents import read_referents
from s2rm.refer.referit import MASKS, load_queries, mentioned_crops

ALL = ["9_2", "9_10", "16_1", "16_3"]
MATLABS_FILES = Path(scipy.io.matlab.__file__).parent / "tests" / "data"


@pytest.fixture
def tiny(tmp_path: Path) -> TinyQueries:
    return TinyQueries(tmp_path / "referit")


def crops_of(refs: list[Any]) -> list[str]:
    """Which crops are left, by the sentences, which all differ."""
    keys = {"the sky": "9_10", "Man?": "9_2", "left\ttree": "16_1", "bottom": "16_3"}
    return [keys[ref["sentences"][0]["raw"]] for ref in refs]


def only_fault(faults: Issues) -> tuple[str, int, list[int | str]]:
    ((kind, fault),) = faults.report().items()
    return kind, fault["count"], fault["ids"]


# --- sound files


@pytest.mark.parametrize("sentence", ["sent", "raw"])
def test_referents_and_masks_are_those_of_the_files_without_any_fault(
    tiny: TinyQueries, sentence: Any
) -> None:
    refs, instances, faults = tiny.load()
    referents = read_referents(refs, instances, get_benchmark("referit_berkeley"), sentence, faults)
    assert faults.report() == {}
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
    refs, instances, faults = tiny.load()
    assert (refs, instances) == before
    assert faults.report() == {}


def test_the_crops_to_fetch_are_told_by_the_queries_alone(tiny: TinyQueries) -> None:
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
    _, instances, faults = tiny.load()
    counts = instances["annotations"][1]["segmentation"]["counts"]
    np.testing.assert_array_equal(decode(counts, 20, 30), mask)
    assert faults.report() == {}


@pytest.mark.parametrize("compressed", [True, False])
def test_files_of_big_endian_machines_are_read(tiny: TinyQueries, compressed: bool) -> None:
    mask = square(20, 30, 5, 3)
    content = matrix(np.where(mask, 0, 1).astype(">f8").tobytes(order="F"), order=">")
    if compressed:
        content = element(COMPRESSED, zlib.compress(content), ">")
    tiny.mats["9_10.mat"] = mat_file(content, order=">")
    _, instances, faults = tiny.load()
    np.testing.assert_array_equal(decode(instances["annotations"][1]["segmentation"]["counts"], 20, 30), mask)
    assert faults.report() == {}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        *((f"testdouble_{version}.mat", "testdouble") for version in ("6.1_SOL2", "6.5.1_GLNX86")),
        *((f"testdouble_{version}.mat", "testdouble") for version in ("7.1_GLNX86", "7.4_GLNX86")),
        *((f"testmatrix_{version}.mat", "testmatrix") for version in ("6.1_SOL2", "6.5.1_GLNX86")),
        *((f"testmatrix_{version}.mat", "testmatrix") for version in ("7.1_GLNX86", "7.4_GLNX86")),
        ("testmulti_7.4_GLNX86.mat", "theta"),
        ("testminus_7.4_GLNX86.mat", "testminus"),
        ("testbool_8_WIN64.mat", "testbools"),
    ],
)
def test_what_matlab_wrote_is_read_as_scipy_reads_it(
    tiny: TinyQueries, monkeypatch: pytest.MonkeyPatch, file: str, name: str
) -> None:
    if not (MATLABS_FILES / file).exists():
        pytest.skip("this SciPy comes without its tests' files, which MATLAB wrote")
    wanted = scipy.io.loadmat(MATLABS_FILES / file)[name] == 0
    height, width = wanted.shape
    monkeypatch.setattr("s2rm.refer.referit.VARIABLE", name.encode())
    tiny.queries = {"train": {"1_1": ["it"]}, "val": {}, "test": {}}
    tiny.sizes = {"1.jpg": [width, height]}
    tiny.mats = {"1_1.mat": (MATLABS_FILES / file).read_bytes()}
    _, instances, faults = tiny.load()
    assert faults.report() == {}
    counts = instances["annotations"][0]["segmentation"]["counts"]
    np.testing.assert_array_equal(decode(counts, height, width), wanted)


# --- faults of the queries, sizes and boxes


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
    refs, _, faults = tiny.load()
    assert only_fault(faults) == ("malformed_ref", 1, ["val query #1"])
    assert crops_of(refs) == ALL
    with pytest.raises(UserError, match="malformed_ref at val query #1") as caught:
        faults.refuse("referit")
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.hostile
@pytest.mark.parametrize("value", [None, "the sky", {"0": "the sky"}, 7, [7], ["the sky", None], [["sky"]]])
def test_a_query_that_is_no_list_of_sentences_is_left_out(tiny: TinyQueries, value: Any) -> None:
    tiny.queries["train"]["9_10"] = value
    refs, _, faults = tiny.load()
    assert only_fault(faults) == ("malformed_ref", 1, ["9_10"])
    assert crops_of(refs) == ["9_2", "16_1", "16_3"]


def test_of_a_crop_in_two_splits_none_is_kept(tiny: TinyQueries) -> None:
    tiny.queries["val"]["9_10"] = tiny.queries["test"]["9_10"] = ["the sky"]
    tiny.queries["test"]["16_1"] = ["left\ttree"]
    tiny.queries["val"].update({"16_3": ["bottom"], "9_2": ["a man"]})
    tiny.queries["val"]["9_7"] = ["sky"]
    tiny.mats["9_7.mat"] = tiny.mats["9_2.mat"]
    refs, _, faults = tiny.load()
    assert only_fault(faults) == ("conflicting_ref", 4, ["16_1", "16_3", "9_10", "9_2"])
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
    refs, instances, faults = tiny.load()
    assert only_fault(faults) == ("image_size", 1, [9])
    assert crops_of(refs) == ["16_1", "16_3"]
    assert [image["id"] for image in instances["images"]] == [16]


def test_an_image_whose_size_is_not_on_record_is_left_out(tiny: TinyQueries) -> None:
    tiny.sizes["9"] = tiny.sizes.pop("9.jpg")
    refs, _, faults = tiny.load()
    assert only_fault(faults) == ("image_size", 1, [9])
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
def test_a_box_that_is_none_leaves_the_mask_to_give_it(tiny: TinyQueries, box: Any) -> None:
    tiny.boxes["9_10"] = box
    refs, instances, faults = tiny.load()
    assert faults.report() == {}
    referents = read_referents(refs, instances, get_benchmark("referit_berkeley"), "sent", faults)
    assert only_fault(faults) == ("box_unknown", 1, [1])
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


def test_missing_masks_and_a_corrupt_pack_are_named(tiny: TinyQueries) -> None:
    tiny.write()
    pack = tiny.folder / "masks.zip"
    data = bytearray(pack.read_bytes())
    with zipfile.ZipFile(pack) as archive:
        place = archive.getinfo("9_10.mat").header_offset
    data[place + 60] ^= 1
    pack.write_bytes(data)
    with pytest.raises(UserError, match=r"masks\.zip is corrupt at 9_10\.mat"):
        load_queries(tiny.folder, Issues())
    pack.unlink()
    with pytest.raises(UserError, match=r"masks\.zip"):
        load_queries(tiny.folder, Issues())


# --- faults of the masks

ZEROS = bytes(8 * 20 * 30)
OTHER_CLASSES = {
    "cell": np.array([[1, "a"]], dtype=object),
    "struct": {"segimg_t": np.zeros((20, 30))},
    "char": "0" * 30,
    "chars": np.array([["0"] * 30] * 20),
    "object": scipy.io.matlab.MatlabObject(np.zeros((20, 30), [("a", object)]), "command"),
    "sparse": scipy.sparse.csc_array(np.zeros((20, 30))),
    "complex": np.zeros((20, 30), complex),
}
UNREADABLE = {
    "nothing": b"",
    "text": b"no mask\n" * 100,
    "header only": mat_file(),
    "short header": mat_file()[:127],
    "zeros": bytes(4096),
    "level 4": (lambda file: scipy.io.savemat(file, {"segimg_t": np.zeros((20, 30))}, format="4") or file)(
        io.BytesIO()
    ).getvalue(),
    "HDF5": mat_file(version=0x0200).ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(512),
    "other variable": mat(segimg=np.zeros((20, 30))),
    "another level": mat_file(matrix(ZEROS), version=0x0200),
    "another type of element": mat_file(element(DOUBLE, matrix(ZEROS)[8:])),
    "a small element that is not": mat_file(
        element(MATRIX, matrix(b"")[8:-8] + struct.pack("<I", 600 << 16 | UINT8) + bytes(604))
    ),
    "two of the name": mat_file(matrix(ZEROS), matrix(ZEROS)),
    "no values": mat_file(matrix(b"")),
    "a value less": mat_file(matrix(ZEROS[:-8])),
    "a byte less": mat_file(matrix(ZEROS[:-1])),
    "a value more": mat_file(matrix(ZEROS + bytes(8))),
    "cut": mat(False, segimg_t=np.zeros((20, 30)))[:-8],
    "cut, compressed": mat(segimg_t=np.random.default_rng(1).random((20, 30)))[:-500],
    "corrupt, compressed": mat_file(element(COMPRESSED, b"no zlib" * 9)),
    "empty, compressed": mat_file(element(COMPRESSED, zlib.compress(b""))),
    "no matrix": mat_file(element(DOUBLE, ZEROS)),
    "no matrix, compressed": mat_file(element(COMPRESSED, zlib.compress(element(DOUBLE, ZEROS)))),
    "twice compressed": mat_file(
        element(COMPRESSED, zlib.compress(element(COMPRESSED, zlib.compress(matrix(ZEROS)))))
    ),
    "not finite": mat(segimg_t=np.full((20, 30), np.nan)),
    "one NaN": mat(segimg_t=np.where(square(20, 30, 5, 3), 0, np.where(square(20, 30, 0, 0), np.nan, 1))),
    "one infinity": mat(segimg_t=np.where(square(20, 30, 5, 3), np.inf, 0).astype("f4")),
    **{f"class {kind}": mat_file(matrix(ZEROS, flags=kind)) for kind in (0, 1, 2, 3, 4, 5, 16, 17, 18, 255)},
    "flag of complex": mat_file(matrix(ZEROS, flags=DOUBLE_CLASS | 0x0800)),
    # SciPy's reader crashes at these
    **{f"type {kind}": mat_file(matrix(ZEROS, kind=kind)) for kind in (0, 8, 14, 15, 16, 19, 20, 21, 60000)},
    **{f"a {name}": mat(segimg_t=value) for name, value in OTHER_CLASSES.items()},
}


@pytest.mark.hostile
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_holds_no_matrix_of_numbers_is_reported(tiny: TinyQueries, name: str) -> None:
    tiny.mats["9_10.mat"] = UNREADABLE[name]
    refs, instances, faults = tiny.load()
    assert only_fault(faults) == ("mask_unreadable", 1, ["9_10"])
    assert crops_of(refs) == ["9_2", "16_1", "16_3"]
    assert len(instances["annotations"]) == 3
    with pytest.raises(UserError, match=r"mask_unreadable at 9_10 \(9_10\.mat: ") as caught:
        faults.refuse("referit")
    assert "\n" not in str(caught.value)


def test_a_missing_mask_is_reported(tiny: TinyQueries) -> None:
    del tiny.mats["9_10.mat"]
    refs, _, faults = tiny.load()
    assert only_fault(faults) == ("mask_missing", 1, ["9_10"])
    assert crops_of(refs) == ["9_2", "16_1", "16_3"]


@pytest.mark.hostile
@pytest.mark.parametrize(
    "data",
    [
        mat_of(square(30, 20, 5, 3)),  # the same number of values
        mat_of(square(21, 30, 5, 3)),
        mat(segimg_t=np.zeros((20, 30, 1, 2))),
        mat_file(matrix(ZEROS, (600,))),
        mat_file(matrix(ZEROS, ())),
        mat_file(matrix(ZEROS, (20, 30, 1))),
        mat_file(matrix(ZEROS, (-20, -30))),
        mat_file(matrix(ZEROS, (2**31 - 1, 2**31 - 1))),
        mat_file(matrix(ZEROS, (20, 30), order="<").replace(b"\x14\0\0\0", b"\x15\0\0\0", 1)),
    ],
)
def test_a_mask_of_another_size_than_the_image_is_reported(tiny: TinyQueries, data: bytes) -> None:
    tiny.mats["9_10.mat"] = data
    refs, _, faults = tiny.load()
    assert only_fault(faults) == ("mask_size", 1, ["9_10"])
    assert crops_of(refs) == ["9_2", "16_1", "16_3"]


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda: bomb((20_000, 20_000), 400), "mask_size"),
        (lambda: bomb((20, 30), 100), "mask_unreadable"),  # the shape is right, the data is not
        (
            lambda: mat_file(element(COMPRESSED, zlib.compress(matrix(b"", name=bytes(50 << 20))))),
            "mask_unreadable",
        ),
    ],
    ids=["shape", "data", "name"],
)
def test_bombs_are_not_inflated(tiny: TinyQueries, build: Callable[[], bytes], kind: str) -> None:
    data = tiny.mats["9_10.mat"] = build()
    tiny.write()
    faults = Issues()
    tracemalloc.start()
    try:
        load_queries(tiny.folder, faults)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert only_fault(faults) == (kind, 1, ["9_10"])
    assert peak < 20 * len(data) + (1 << 20) < 20 << 20


@pytest.mark.hostile
@pytest.mark.parametrize("compressed", [True, False])
def test_a_mask_cut_or_changed_at_any_byte_is_a_mask_or_a_fault(tiny: TinyQueries, compressed: bool) -> None:
    sound = mat(compressed, segimg_t=(~square(20, 30, 5, 3)).astype(np.uint8))
    broken = [sound[:end] for end in range(len(sound))]
    for place in range(len(sound)):
        for value in {0, 1, 255, sound[place] ^ 1, sound[place] ^ 128}:
            broken.append(sound[:place] + bytes([value]) + sound[place + 1 :])
    tiny.queries = {"train": {f"9_{number}": ["it"] for number in range(len(broken))}, "val": {}, "test": {}}
    tiny.mats = {f"9_{number}.mat": data for number, data in enumerate(broken)}
    refs, instances, faults = tiny.load()
    report = faults.report()
    assert report.keys() <= {"mask_unreadable", "mask_size"}
    assert sum(fault["count"] for fault in report.values()) + len(refs) == len(broken)
    masks = [decode(each["segmentation"]["counts"], 20, 30) for each in instances["annotations"]]
    if compressed:  # what is inflated has a checksum
        assert all((mask == square(20, 30, 5, 3)).all() for mask in masks)
    else:  # nothing shorter than the whole file is taken for a mask
        assert refs[0]["ref_id"] >= len(sound)


@pytest.mark.hostile
def test_thousands_of_elements_are_gone_through_once(tiny: TinyQueries) -> None:
    empty = mat_file(*[element(UINT8, b"")] * 100_000)
    tiny.mats["9_10.mat"] = empty + matrix(ZEROS)
    refs, _, faults = tiny.load()
    assert faults.report() == {}
    assert crops_of(refs) == ALL
