"""Resizes masks by the nearest pixel, as Pillow does.

Shapes: H×W pixels.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize a boolean mask, (H, W), to (size, size) by the nearest pixel.

    LAVT resizes the ground truth in this way; ReLA rasterises scaled polygons instead.
    """
    return resize_to(mask, size, size)


def resize_to(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """Resize a boolean mask, (H, W), to (height, width) by the nearest pixel."""
    rows, columns = _nearest(mask.shape[0], height), _nearest(mask.shape[1], width)
    # Columns first: `rle.decode` returns masks whose columns are contiguous in memory.
    return mask.T[columns][:, rows].T


@lru_cache(maxsize=256)
def _nearest(length: int, size: int) -> NDArray[np.int32]:
    """Return, for each of `size` pixels, which of `length` it is taken from.

    Computed by Pillow itself, to match how it rounds ties.
    """
    places = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    return np.asarray(places.resize((size, 1), Image.Resampling.NEAREST))[0]
