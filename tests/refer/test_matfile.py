"""MAT-files, sound and hostile, read as ReferIt's masks: the mask is exact, or an issue is reported."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io.matlab
import scipy.sparse
from tiny_queries import (
    ALL,
    COMPRESSED,
    DOUBLE,
    DOUBLE_CLASS,
    MATRIX,
    UINT8,
    TinyQueries,
    bomb,
    crops_of,
    element,
    mat,
    mat_file,
    mat_of,
    matrix,
    only_issue,
    square,
)

from s2rm.core.errors import UserError
from s2rm.data.rle import decode
from s2rm.refer.issues import Issues
from s2rm.refer.referit import load_queries

MATLABS_FILES = Path(scipy.io.matlab.__file__).parent / "tests" / "data"


@pytest.mark.parametrize("compressed", [True, False])
def test_files_of_big_endian_machines_are_read(tiny: TinyQueries, compressed: bool) -> None:
    mask = square(20, 30, 5, 3)
    content = matrix(np.where(mask, 0, 1).astype(">f8").tobytes(order="F"), order=">")
    if compressed:
        content = element(COMPRESSED, zlib.compress(content), ">")
    tiny.mats["9_10.mat"] = mat_file(content, order=">")
    _, instances, issues = tiny.load()
    np.testing.assert_array_equal(decode(instances["annotations"][1]["segmentation"]["counts"], 20, 30), mask)
    assert issues.report() == {}


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
    monkeypatch.setattr("s2rm.refer.referit.VARIABLE", name)
    tiny.queries = {"train": {"1_1": ["it"]}, "val": {}, "test": {}}
    tiny.sizes = {"1.jpg": [width, height]}
    tiny.mats = {"1_1.mat": (MATLABS_FILES / file).read_bytes()}
    _, instances, issues = tiny.load()
    assert issues.report() == {}
    counts = instances["annotations"][0]["segmentation"]["counts"]
    np.testing.assert_array_equal(decode(counts, height, width), wanted)


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
def test_a_file_without_a_matrix_of_numbers_is_reported(tiny: TinyQueries, name: str) -> None:
    tiny.mats["9_10.mat"] = UNREADABLE[name]
    refs, instances, issues = tiny.load()
    assert only_issue(issues) == ("mask_unreadable", 1, ["9_10"])
    assert crops_of(refs) == ["9_2", "16_1", "16_3"]
    assert len(instances["annotations"]) == 3
    with pytest.raises(UserError, match=r"1 × mask_unreadable \(first: 9_10\.mat: ") as caught:
        issues.refuse("referit")
    assert "\n" not in str(caught.value)


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
    refs, _, issues = tiny.load()
    assert only_issue(issues) == ("mask_size", 1, ["9_10"])
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
    issues = Issues()
    tracemalloc.start()
    try:
        load_queries(tiny.folder, issues)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert only_issue(issues) == (kind, 1, ["9_10"])
    assert peak < 20 * len(data) + (1 << 20) < 20 << 20


@pytest.mark.hostile
@pytest.mark.parametrize("compressed", [True, False])
def test_a_mask_cut_or_changed_at_any_byte_is_a_mask_or_an_issue(tiny: TinyQueries, compressed: bool) -> None:
    sound = mat(compressed, segimg_t=(~square(20, 30, 5, 3)).astype(np.uint8))
    broken = [sound[:end] for end in range(len(sound))]
    for place in range(len(sound)):
        for value in {0, 1, 255, sound[place] ^ 1, sound[place] ^ 128}:
            broken.append(sound[:place] + bytes([value]) + sound[place + 1 :])
    tiny.queries = {"train": {f"9_{number}": ["it"] for number in range(len(broken))}, "val": {}, "test": {}}
    tiny.mats = {f"9_{number}.mat": data for number, data in enumerate(broken)}
    refs, instances, issues = tiny.load()
    report = issues.report()
    assert report.keys() <= {"mask_unreadable", "mask_size"}
    assert sum(issue["count"] for issue in report.values()) + len(refs) == len(broken)
    masks = [decode(each["segmentation"]["counts"], 20, 30) for each in instances["annotations"]]
    if compressed:  # what is inflated has a checksum
        assert all((mask == square(20, 30, 5, 3)).all() for mask in masks)
    else:  # nothing shorter than the whole file is taken for a mask
        assert refs[0]["ref_id"] >= len(sound)


@pytest.mark.hostile
def test_thousands_of_elements_are_read_once(tiny: TinyQueries) -> None:
    empty = mat_file(*[element(UINT8, b"")] * 100_000)
    tiny.mats["9_10.mat"] = empty + matrix(ZEROS)
    refs, _, issues = tiny.load()
    assert issues.report() == {}
    assert crops_of(refs) == ALL
