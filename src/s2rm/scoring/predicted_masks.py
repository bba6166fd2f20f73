"""Decodes the masks of predictions: COCO's run lengths, polygons, image files, NumPy arrays.

A mask has the image's own size or is a square at the model's size. Nothing else is resized: a mask of another
size usually belongs to another image. In a file, `find_foreground` says what is foreground.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2rm.core.errors import UserError
from s2rm.data.images import count_frames, open_image
from s2rm.data.resize import resize_mask, resize_to
from s2rm.data.rle import Runs, SegmentationError, read_counts, read_runs, to_mask, to_runs
from s2rm.refer.forms import show_value

WHITE = {"u1": 255, "u2": 65535}  # types of grey, 8 and 16 bits → their white
SINGLE = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F")  # modes with one channel and no palette
# Issues of polygons that REFER's data may have and a prediction may not: its mask would lack a part.
UNUSABLE = {
    "polygon_points": "a polygon has fewer than three points, as a box has: a mask is needed",
    "polygon_outside": "a polygon lies outside of the image",
}


class PredictedMask:
    """A predicted mask, at the image's own size and at the model's; each is made from the other once."""

    def __init__(self, given: Runs, size: tuple[int, int], image: tuple[int, int], side: int) -> None:
        """Take a mask of `size` (height, width) for an image of size `image`.

        Raises:
            UserError: the size is neither the image's nor the square of `side` pixels.
        """
        _require_size(size, image, side)
        self.given, self.size, self.image, self.side = given, size, image, side

    def at_image(self) -> Runs:
        """Return the mask at the image's size."""
        if self.size == self.image:
            return self.given
        return to_runs(resize_to(to_mask(self.given, *self.size), *self.image))

    def at_model(self) -> NDArray[np.bool_]:
        """Return the mask at the model's size, (side, side)."""
        mask = to_mask(self.given, *self.size)
        return mask if self.size == (self.side, self.side) else resize_mask(mask, self.side)


def read_mask(
    spec: Any, folder: Path, image: tuple[int, int], *, side: int, threshold: float
) -> PredictedMask:
    """Decode the mask of a prediction.

    Args:
        spec: an RLE {size, counts}, polygons or RLEs in a list, or the path of an image or of a .npy file.
        folder: that paths start from.
        image: the image's (height, width).
        side: of the model's square.
        threshold: above which a probability in a file is foreground.

    Raises:
        UserError: the mask cannot be read, or has another size.
    """
    try:
        if isinstance(spec, dict):
            return _from_rle(spec, image, side)
        if isinstance(spec, list):
            return PredictedMask(_from_parts(spec, image), image, image, side)
        if isinstance(spec, str):
            return _from_file(folder / spec, image, side, threshold)
    except SegmentationError as error:
        raise UserError(f"the mask cannot be used: {error}") from None
    raise UserError(f"the mask is {show_value(spec)}, not an RLE, a list of polygons or the path of a file")


def find_foreground(values: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Return which pixels of a file are foreground.

    Args:
        values: Booleans; or integers of which at most one differs from 0 (labels: that one is foreground); or
            grey of 8 or 16 bits, or floating-point numbers in 0…1 (probabilities). Grey with the values 0 and
            1 only are labels.
        threshold: above which a probability is foreground.

    Raises:
        ValueError: the values are something else.
    """
    kind = values.dtype.kind
    if kind == "b":
        return values
    if kind in "iu" and _are_labels(values):
        return values != 0
    if white := WHITE.get(values.dtype.str[1:]):
        return values > threshold * white
    if kind == "f" and values.min() >= 0 and values.max() <= 1:  # NaN is neither
        return values > threshold
    found = f" from {values.min()} to {values.max()}" if kind in "iuf" else ""
    raise ValueError(
        f"it holds values of type {values.dtype}{found}: a mask has 0 and one other value, grey of 8 or 16 "
        "bits, or probabilities in 0…1"
    )


def _are_labels(values: NDArray[np.integer]) -> bool:
    """Return whether at most one value differs from 0."""
    label = values.flat[np.argmax(values != 0)]
    return bool(((values == 0) | (values == label)).all())


def _require_size(size: tuple[int, ...], image: tuple[int, int], side: int) -> None:
    if size != image and size != (side, side):
        raise UserError(
            f"the mask has {' × '.join(map(str, reversed(size)))} pixels, the image {image[1]} × {image[0]}: "
            f"masks have the image's size or {side} × {side}"
        )


def _from_rle(rle: dict[str, Any], image: tuple[int, int], side: int) -> PredictedMask:
    size = rle.get("size", list(image))
    if not (isinstance(size, list) and len(size) == 2 and all(type(each) is int for each in size)):
        raise UserError(f"the size of the RLE is {str(size)[:40]}, not [height, width]")
    _require_size((size[0], size[1]), image, side)
    return PredictedMask(read_counts(rle.get("counts"), *size), (size[0], size[1]), image, side)


def _from_parts(parts: list[Any], image: tuple[int, int]) -> Runs:
    from s2rm.refer.masks import rasterise  # with pycocotools, which other predictions do not need

    empty = np.array([image[0] * image[1]], dtype=np.int64)
    if not parts:
        return empty
    try:
        found = rasterise(parts, *image)
        counts, issues = read_runs(found.counts), found.repairs
    except SegmentationError as error:
        if error.kind != "mask_empty":
            raise
        if all(isinstance(part, dict) for part in parts):  # RLEs of an empty mask
            return empty
        if not UNUSABLE.keys() & error.repairs:
            raise
        counts, issues = empty, error.repairs
    for issue in issues:
        if issue in UNUSABLE:
            raise UserError(f"the mask cannot be used: {UNUSABLE[issue]}")
    return counts


def _from_file(path: Path, image: tuple[int, int], side: int, threshold: float) -> PredictedMask:
    with _explained(path):
        if not path.is_file():
            raise UserError(f"{path} does not exist")
        values = _read_npy(path) if path.suffix == ".npy" else _read_picture(path)
        _require_size(values.shape, image, side)
        mask = find_foreground(values, threshold)
    return PredictedMask(to_runs(mask), (mask.shape[0], mask.shape[1]), image, side)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the errors of reading a mask file into a `UserError`: on damaged ones libraries raise any kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about oddities that do not stop the reader
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{path} cannot be read as a mask: {reason}") from None


def _read_npy(path: Path) -> NDArray[Any]:
    """Map an array of a .npy file, so that its shape is known before anything is read."""
    return np.lib.format.open_memmap(path, mode="r").squeeze()


def _read_picture(path: Path) -> NDArray[Any]:
    """Return the values of a picture with one channel; a colour becomes one number, and black is 0."""
    picture = open_image(path.read_bytes(), str(path))
    if count_frames(picture) > 1:
        raise ValueError("it has several frames or pages: one mask per file is read")
    picture.load()
    if picture.mode in SINGLE:
        return np.asarray(picture)
    *colours, alpha = np.moveaxis(np.asarray(picture.convert("RGBA")), 2, 0)
    if (alpha < 255).any():
        if any((channel != channel[0, 0]).any() for channel in colours):
            raise ValueError("both its colours and its transparency vary: save the mask in one channel")
        return alpha
    red, green, blue = colours
    if (red == green).all() and (red == blue).all():
        return red
    numbers = (red.astype(np.int32) << 16) | (green.astype(np.int32) << 8) | blue
    if not _are_labels(numbers):
        raise ValueError("it is coloured: a mask has black and one other colour, or is grey")
    return numbers
