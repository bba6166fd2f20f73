"""Masks of every form are read as they are meant, or refused by one line that says what was found."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from s2rm.core.errors import UserError
from s2rm.data.rle import to_mask, to_runs
from s2rm.scoring.predicted_masks import read_mask

HEIGHT, WIDTH, SIDE = 6, 5, 8
TRUTH = np.zeros((HEIGHT, WIDTH), dtype=bool)
TRUTH[1:4, 2:4] = True
ALL, NONE = np.ones_like(TRUTH), np.zeros_like(TRUTH)
GREY = np.where(TRUTH, 200, 90).astype(np.uint8)
GREY[0, 0] = 91  # a third value: probabilities
PROBABILITY = np.where(TRUTH, 0.8, 0.2)


def read(spec: Any, folder: Path = Path(), threshold: float = 0.5) -> np.ndarray:
    mask = read_mask(spec, folder, (HEIGHT, WIDTH), side=SIDE, threshold=threshold)
    return to_mask(mask.at_image(), HEIGHT, WIDTH)


def labels(value: int, kind: Any, where: np.ndarray = TRUTH) -> np.ndarray:
    return (where * value).astype(kind)


def palette(*colours: int) -> Callable[[Path], None]:
    """Draw a picture of indices 0 and 1 whose palette has these colours."""

    def save(path: Path) -> None:
        picture = Image.fromarray(TRUTH.astype(np.uint8)).convert("P")
        picture.putpalette(colours)
        picture.save(path)

    return save


def bands(mode: str, *channels: np.ndarray | int) -> Image.Image:
    full = [np.full(TRUTH.shape, each, np.uint8) if isinstance(each, int) else each for each in channels]
    return Image.merge(mode, [Image.fromarray(each) for each in full])


WHITE = labels(255, np.uint8)
FILES: dict[str, tuple[Any, np.ndarray]] = {
    "bool.npy": (TRUTH, TRUTH),
    "one-label.npy": (labels(3, np.uint8), TRUTH),
    "negative-label.npy": (labels(-1, np.int8), TRUTH),
    "int64.npy": (labels(255, np.int64)[None], TRUTH),
    "nothing.npy": (labels(0, np.int64), NONE),
    "everything.npy": (labels(7, np.int64, ALL), ALL),
    "grey.npy": (GREY, TRUTH),
    "grey16.npy": (GREY.astype(np.uint16) * 257, TRUTH),
    "float16.npy": (PROBABILITY.astype(np.float16), TRUTH),
    "faint.npy": (labels(1, np.uint8), TRUTH),  # labels, though 1/255 is a probability as well
    "square.npy": (np.ones((SIDE, SIDE), dtype=bool), ALL),
    "label.png": (labels(3, np.uint8), TRUTH),
    "1.png": (Image.fromarray(TRUTH), TRUTH),
    "grey.png": (GREY, TRUTH),
    "uint16.png": (labels(255, np.uint16), TRUTH),
    "grey16.png": (GREY.astype(np.uint16) * 257, TRUTH),
    "int32.tiff": (labels(255, np.int32), TRUTH),
    "float.tiff": (PROBABILITY.astype(np.float32), TRUTH),
    "palette.png": (palette(0, 0, 0, 128, 0, 0), TRUTH),
    "turned-palette.png": (palette(255, 255, 255, 0, 0, 0), ~TRUTH),
    "rgb.png": (bands("RGB", WHITE, WHITE, WHITE), TRUTH),
    "red.png": (bands("RGB", WHITE, 0, 0), TRUTH),
    "opaque.png": (bands("RGBA", WHITE, WHITE, WHITE, 255), TRUTH),
    "alpha.png": (bands("RGBA", 0, 0, 0, WHITE), TRUTH),
    "soft-alpha.png": (bands("LA", 255, GREY), TRUTH),
    "transparent.png": (bands("RGBA", 255, 255, 255, 0), NONE),
}


def write(path: Path, content: Any) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif callable(content):
        content(path)
    elif isinstance(content, Image.Image):
        content.save(path)
    elif path.suffix == ".npy":
        np.save(path, content)
    else:
        Image.fromarray(content).save(path)
    return path


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path: Path, name: str) -> None:
    content, wanted = FILES[name]
    write(tmp_path / name, content)
    assert np.array_equal(read(name, tmp_path), wanted)


@pytest.mark.parametrize("name", ["grey.npy", "grey16.png", "float.tiff", "float16.npy"])
def test_the_threshold_is_on_probabilities(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, FILES[name][0])
    assert np.array_equal(read(name, tmp_path, threshold=0.1), ALL)
    assert np.array_equal(read(name, tmp_path, threshold=0.9), NONE)


def header(shape: str, kind: str = "|u1") -> bytes:
    """Make a .npy file that promises an array of this shape."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, mask=TRUTH)
    return file.getvalue()


def pages(path: Path) -> None:
    Image.fromarray(TRUTH).save(path, save_all=True, append_images=[Image.fromarray(~TRUTH)])


BAD_FILES: dict[str, tuple[Any, str]] = {
    "labels.npy": (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH), "values of type int64 from 0 to 29"),
    "two-labels.npy": (np.where(TRUTH, 7, 3), "values of type int64 from 3 to 7"),
    "logits.npy": (PROBABILITY * 9 - 4, "values of type float64 from -2"),
    "nan.npy": (np.where(TRUTH, np.nan, 0), "values of type float64 from nan"),
    "complex.npy": (TRUTH.astype(complex), "values of type complex128:"),
    "text.npy": (TRUTH.astype(str), "values of type <U5:"),
    "objects.npy": (TRUTH.astype(object), "cannot be read as a mask"),
    "cube.npy": (np.zeros((3, HEIGHT, WIDTH)), "the mask has 5 × 6 × 3 pixels, the image 5 × 6"),
    "nothing.npy": (np.zeros((0, WIDTH)), "the mask has 5 × 0 pixels"),
    "empty.npy": (b"", "cannot be read as a mask"),
    "archive.npy": (archive(), "cannot be read as a mask"),
    "zip.npy": (b"PK\x03\x04 junk", "cannot be read as a mask"),
    "cut.npy": (header("(6, 5)") + b"\0" * 7, "cannot be read as a mask"),
    "endless.npy": (header("(1000000, 10000000)"), "cannot be read as a mask"),
    "wrapped.npy": (header(f"({2**32}, {2**32})"), "cannot be read as a mask"),
    "huge.npy": (header(f"({10**30},)"), "cannot be read as a mask"),
    "code.npy": (header("__import__('os')"), "cannot be read as a mask"),
    "labels.tiff": (np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(HEIGHT, WIDTH), "values of type int32"),
    "floats.tiff": (labels(255, np.float32), "values of type float32 from 0.0 to 255.0"),
    "pages.tiff": (pages, "it has several frames or pages"),
    "colours.png": (bands("RGB", GREY, WHITE, 0), "it is coloured"),
    "coloured-palette.png": (palette(9, 0, 0, 0, 9, 0), "it is coloured"),
    "overlay.png": (bands("RGBA", GREY, GREY, GREY, WHITE), "both its colours and its transparency vary"),
    "junk.png": (b"junk", "cannot be read as an image"),
    "cut.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cannot be read as"),
    "large.png": (np.zeros((HEIGHT, WIDTH + 1), np.uint8), "the mask has 6 × 6 pixels"),
    "folder.png": (Path.mkdir, "does not exist"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder) -> None:
    content, said = BAD_FILES[name]
    write(tmp_path / name, content)
    with pytest.raises(UserError) as raised:
        read(name, tmp_path)
    assert said in str(raised.value)
    assert name in str(raised.value) or said.startswith("the mask has")
    assert "\n" not in str(raised.value)
    assert not recwarn.list


RLE = {"size": [HEIGHT, WIDTH], "counts": coco.encode(np.asfortranarray(TRUTH, np.uint8))["counts"].decode()}
BOX = [2, 1, 4, 1, 4, 4, 2, 4]  # as a polygon
EMPTY_RLE = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (RLE, TRUTH),
        ({"counts": RLE["counts"]}, TRUTH),
        ({"counts": to_runs(TRUTH).tolist()}, TRUTH),
        (EMPTY_RLE, NONE),
        ([BOX], TRUTH),
        (BOX, TRUTH),
        ([RLE], TRUTH),
        ([RLE, EMPTY_RLE], TRUTH),
        ([EMPTY_RLE], NONE),
        ([], NONE),
        ({"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}, ALL),
    ],
    ids=str,
)
def test_run_lengths_and_polygons(spec: Any, wanted: np.ndarray) -> None:
    assert np.array_equal(read(spec), wanted)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ([[1, 2, 3, 3]], "fewer than three points"),
        ([1, 2, 3, 3], "fewer than three points"),
        ([[1, 2]], "fewer than three points"),
        ([BOX, [1, 2, 3, 3]], "fewer than three points"),
        ([[10, 10, 12, 10, 12, 12]], "outside of the image"),
        ([BOX, [10, 10, 12, 10, 12, 12]], "outside of the image"),
        ([[1, 1, 1, 1, 1, 1]], "no pixel is set"),
        ([[1, 2, 3]], "a polygon is not a list of finite x, y"),
        ([["a", "b"]], "neither a polygon nor an RLE"),
        ([[]], "fewer than three points"),
        ({"size": [HEIGHT, WIDTH], "counts": [2**62] * 4 + [30]}, "neither COCO's code nor run lengths"),
        ({"size": [HEIGHT, WIDTH], "counts": [10**30]}, "neither COCO's code nor run lengths"),
        ({"size": [2**40, 2**40], "counts": [2**80]}, "the mask has 1099511627776 × 1099511627776 pixels"),
        ({"size": [3, 5], "counts": [15]}, "the mask has 5 × 3 pixels, the image 5 × 6"),
        ({"size": 5, "counts": [5]}, "the size of the RLE is 5"),
        ({"size": [HEIGHT, WIDTH]}, "neither COCO's code nor run lengths"),
        ({"counts": [4, 4]}, "the runs do not fill"),
        ({"counts": "é!"}, "the mask cannot be used"),
        (3, "the mask is 3, not an RLE"),
    ],
    ids=str,
)
def test_bad_masks_are_explained(spec: Any, said: str) -> None:
    with pytest.raises(UserError) as raised:
        read(spec)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
