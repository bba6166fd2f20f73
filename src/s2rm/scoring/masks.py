"""Decodes the masks of predictions: COCO's run lengths, polygons, image files, NumPy arrays.

A mask has the image's own size or is a square at the model's size. Nothing else is resized: a mask of another
size usually belongs to another image.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from s2rm.core.errors import UserError
from s2rm.data.resize import resize_mask, resize_to
from s2rm.data.rle import SegmentationError, check_runs, read_runs
from s2rm.scoring import runs
from s2rm.scoring.runs import Runs

DEEP = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I": 65535}  # modes of 16 bits → their white


class PredictedMask:
    """A predicted mask, at the image's own size and at the model's; each is made from the other once."""

    def __init__(self, given: Runs, size: tuple[int, int], image: tuple[int, int], side: int) -> None:
        """Take a mask of `size` (height, width) for an image of size `image`.

        Raises:
            UserError: the size is neither the image's nor the square of `side` pixels.
        """
        if size != image and size != (side, side):
            raise UserError(
                f"the mask has {size[1]} × {size[0]} pixels, the image {image[1]} × {image[0]}: masks have "
                f"the image's size or {side} × {side}"
            )
        self.given, self.size, self.image, self.side = given, size, image, side

    def at_image(self) -> Runs:
        """Return the mask at the image's size."""
        if self.size == self.image:
            return self.given
        return runs.from_mask(resize_to(runs.to_mask(self.given, *self.size), *self.image))

    def at_model(self) -> NDArray[np.bool_]:
        """Return the mask at the model's size, (side, side)."""
        mask = runs.to_mask(self.given, *self.size)
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
    raise UserError(f"the mask is {str(spec)[:40]!r}, not an RLE, a list of polygons or the path of a file")


def _from_rle(rle: dict[str, Any], image: tuple[int, int], side: int) -> PredictedMask:
    size, counts = rle.get("size", list(image)), rle.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(each) is int for each in size)):
        raise UserError(f"the size of the RLE is {size!r}, not [height, width]")
    if isinstance(counts, str):
        found = read_runs(counts)
    elif isinstance(counts, list) and counts and all(type(each) is int for each in counts):
        found = np.asarray(counts, dtype=np.int64)
    else:
        raise UserError("the counts of the RLE are neither COCO's text nor a list of run lengths")
    check_runs(found, *size)
    return PredictedMask(found, (size[0], size[1]), image, side)


def _from_parts(parts: list[Any], image: tuple[int, int]) -> Runs:
    from s2rm.refer.masks import rasterise  # with pycocotools, which other predictions do not need

    if not parts:
        return np.array([image[0] * image[1]], dtype=np.int64)
    try:
        return read_runs(rasterise(parts, *image).counts)
    except SegmentationError as error:
        if error.kind != "mask_empty":
            raise
        return np.array([image[0] * image[1]], dtype=np.int64)


def _from_file(path: Path, image: tuple[int, int], side: int, threshold: float) -> PredictedMask:
    try:
        values, white = _read_npy(path) if path.suffix == ".npy" else _read_picture(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as a mask: {' '.join(str(error).split())[:120]}") from None
    if values.ndim != 2:
        raise UserError(f"{path} has {values.ndim} dimensions, a mask has two")
    labels = white is None or (white > 1 and values.max(initial=0) <= 1)  # 0 and 1 are a mask in any file
    mask = values != 0 if labels or white is None else values > threshold * white
    return PredictedMask(runs.from_mask(mask), (mask.shape[0], mask.shape[1]), image, side)


def _read_npy(path: Path) -> tuple[NDArray[Any], float | None]:
    """Return an array and the value of certainty in it; None where its values are labels."""
    values = np.load(path, allow_pickle=False)
    values = values.squeeze()
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all() or values.min(initial=0) < 0 or values.max(initial=0) > 1:
            raise ValueError("its values are not probabilities in 0…1: give sigmoid(logits)")
        return values, 1.0
    if values.dtype == bool or np.issubdtype(values.dtype, np.integer):
        return values, 255.0 if values.dtype == np.uint8 else None
    raise ValueError(f"its values are of type {values.dtype}")


def _read_picture(path: Path) -> tuple[NDArray[Any], float | None]:
    """Return the values of a picture and its white; None where they are labels."""
    with Image.open(path) as picture:
        picture.load()
        if picture.mode in ("1", "P"):
            return np.asarray(picture), None
        if picture.mode in ("L", *DEEP):
            return np.asarray(picture), DEEP.get(picture.mode, 255)
        channels = np.asarray(picture.convert("RGB"))
    if (channels != channels[..., :1]).any():
        raise ValueError("it is coloured: a mask is black and white, or a picture of grey probabilities")
    return channels[..., 0], 255
