"""Images and masks to what the model takes: a square of `size` pixels, normalised."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def to_tensor(image: Image.Image, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(3, size, size) float32: resized without keeping the aspect (as LAVT and ReLA do), normalised."""
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.empty((3, size, size), dtype=np.float32)
    # Band by band and in place: a pass over fresh memory costs more than the arithmetic.
    for plane, band, centre, spread in zip(pixels, resized.split(), mean, std, strict=True):
        np.divide(np.asarray(band), np.float32(255), out=plane)
        plane -= np.float32(centre)
        plane /= np.float32(spread)
    return torch.from_numpy(pixels)


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """A boolean mask (H, W) → (size, size), by the nearest pixel, as the peers resize the truth."""
    height, width = mask.shape
    # Columns first: in a mask that `rle.decode` made, a column lies in one piece.
    return mask.T[_nearest(width, size)][:, _nearest(height, size)].T


@lru_cache(maxsize=256)
def _nearest(length: int, size: int) -> NDArray[np.int32]:
    """Which of `length` pixels each of `size` is taken from. Pillow is asked, as its rounding breaks ties."""
    places = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    return np.asarray(places.resize((size, 1), Image.Resampling.NEAREST))[0]
