"""Masks as run lengths: areas and intersections without decoding.

Runs go down the columns and start with background, as in `s2rm.data.rle`.
"""

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int64]


def from_mask(mask: NDArray[np.bool_]) -> Runs:
    """Return the run lengths of a mask (height, width)."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(edges, prepend=0, append=flat.size)
    return np.insert(runs, 0, 0) if flat.size and flat[0] else runs


def to_mask(runs: Runs, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (height, width) of run lengths that fill it."""
    return np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(width, height).T


def count(runs: Runs) -> int:
    """Return the number of pixels of a mask."""
    return int(runs[1::2].sum())


def intersect(first: Runs, second: Runs) -> int:
    """Return the number of pixels that two masks of one size share."""
    ends = first.cumsum(), second.cumsum()
    cuts = np.sort(np.concatenate(ends))
    starts = np.concatenate([[0], cuts[:-1]])
    inside = [np.searchsorted(end, starts, "right") % 2 == 1 for end in ends]
    return int((cuts - starts)[inside[0] & inside[1]].sum())
