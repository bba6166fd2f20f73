"""Masks as COCO's compressed run lengths (RLE): codes, checks of untrusted ones, areas without decoding.

A mask is kept as the `counts` of COCO's compressed RLE, an ASCII string; its size is the image's
(height, width). Runs go down the columns and start with background. Decoding does without pycocotools, whose
C code trusts its input: run lengths that do not fill the image make it read or write beyond its memory.

https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int64]

LONGEST_RUN_CODE = 7  # characters of 5 bits: any run below 2³⁴


class SegmentationError(ValueError):
    """A segmentation that gives no mask.

    Attributes:
        kind: one of `s2rm.refer.issues.RULES`.
        repairs: kinds of issues that had been repaired before.
    """

    def __init__(self, kind: str, detail: str, repairs: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.kind = kind
        self.repairs = tuple(repairs)


def encode(mask: NDArray[np.bool_]) -> str:
    """Return the compressed RLE of a mask (height, width)."""
    from pycocotools import mask as coco  # trainings only decode, and run where it is not installed

    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return str(rle["counts"].decode("ascii"))


def encode_runs(runs: Runs) -> str:
    """Return COCO's code of run lengths, the inverse of `read_runs` (`rleToString` in maskApi.c)."""
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    reach = 16 * 32 ** np.arange(LONGEST_RUN_CODE)  # of 1, 2, … characters: −reach…reach − 1
    lengths = 1 + np.searchsorted(reach, np.where(values < 0, -values, values + 1))
    places = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
    codes = (np.repeat(values, lengths) >> (5 * places)) & 31
    codes |= np.where(places < np.repeat(lengths, lengths) - 1, 32, 0)
    return (codes + 48).astype(np.uint8).tobytes().decode("ascii")


def decode(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (height, width) of a compressed RLE.

    Raises:
        SegmentationError: the counts are not COCO's code, or the runs do not fill the mask exactly.
    """
    return to_mask(read_counts(counts, height, width), height, width)


def read_counts(counts: Any, height: int, width: int) -> Runs:
    """Return the run lengths (runs,) of an untrusted RLE: they fill a mask of this size exactly.

    Args:
        counts: COCO's code, or a list of run lengths.
        height: of the mask.
        width: of the mask.

    Raises:
        SegmentationError: the counts are neither, or do not fill the mask.
    """
    if isinstance(counts, str | bytes):
        runs = read_runs(counts)
    elif isinstance(counts, list) and all(type(run) is int and 0 <= run <= height * width for run in counts):
        runs = np.array(counts, dtype=np.int64)
    else:
        raise SegmentationError(
            "malformed_segmentation",
            f"the counts of an RLE are neither COCO's code nor run lengths of {height} × {width} pixels",
        )
    check_runs(runs, height, width)
    return runs


def check_runs(runs: Runs, height: int, width: int) -> None:
    """Check that run lengths fill a mask of this size exactly.

    Raises:
        SegmentationError: they do not, or one is negative.
    """
    pixels = height * width
    # Each run is checked as well: the sum of long ones may wrap around to the right number.
    if (runs < 0).any() or (runs > pixels).any() or runs.sum() != pixels:
        raise SegmentationError("malformed_segmentation", f"the runs do not fill {height} × {width} pixels")


def read_runs(counts: str | bytes) -> Runs:
    """Return the run lengths (runs,) in COCO's code.

    Each number is a sequence of characters of 5 bits, lowest first, where bit 6 says that more follow; from
    the fourth run on it is the difference to the run before the last (`rleFrString` in maskApi.c).

    Raises:
        SegmentationError: the text is not such a code.
    """
    data = counts.encode("latin1", "replace") if isinstance(counts, str) else counts
    codes = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - 48
    if not codes.size or (codes < 0).any() or (codes > 63).any() or codes[-1] & 32:
        raise SegmentationError("malformed_segmentation", "the counts of an RLE are not COCO's code")
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    if lengths.max() > LONGEST_RUN_CODE:
        raise SegmentationError("malformed_segmentation", "the counts of an RLE have an endless run")
    places = np.arange(codes.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 31) << (5 * places), starts)
    runs -= np.where(codes[ends] & 16, 1 << (5 * lengths), 0)  # two's complement
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def to_runs(mask: NDArray[np.bool_]) -> Runs:
    """Return the run lengths of a mask (height, width)."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(edges, prepend=0, append=flat.size)
    return np.insert(runs, 0, 0) if flat.size and flat[0] else runs


def to_mask(runs: Runs, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (height, width) of run lengths that fill it."""
    return np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(width, height).T


def count_pixels(runs: Runs) -> int:
    """Return the number of pixels of a mask."""
    return int(runs[1::2].sum())


def count_shared(first: Runs, second: Runs) -> int:
    """Return the number of pixels that two masks of one size share."""
    starts, ends, inside = _cut(first, second)
    return int((ends - starts)[inside[0] & inside[1]].sum())


def subtract(first: Runs, second: Runs) -> Runs:
    """Return the first of two masks of one size, without the pixels of the second."""
    starts, ends, inside = _cut(first, second)
    filled = starts < ends
    changes = np.flatnonzero(np.diff((inside[0] & ~inside[1])[filled], prepend=False))
    return np.diff(starts[filled][changes], prepend=0, append=ends[-1])


def _cut(first: Runs, second: Runs) -> tuple[Runs, Runs, list[NDArray[np.bool_]]]:
    """Cut two masks where either changes: starts and ends of the pieces, and whether each mask has them.

    A piece is empty where both masks change.
    """
    edges = first.cumsum(), second.cumsum()
    ends = np.sort(np.concatenate(edges))
    starts = np.concatenate([[0], ends[:-1]])
    return starts, ends, [np.searchsorted(edge, starts, "right") % 2 == 1 for edge in edges]
