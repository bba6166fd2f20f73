"""COCO's compressed run lengths of masks, read without pycocotools.

A mask is kept as the `counts` of COCO's compressed RLE, an ASCII string; its size is the image's
(height, width). Runs go down the columns and start with background.

https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST_RUN_CODE = 7  # characters of 5 bits: any run below 2³⁴


class SegmentationError(ValueError):
    """A segmentation that gives no mask; `kind` is one of `s2rm.refer.issues.RULES`."""

    def __init__(self, kind: str, detail: str, repairs: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.kind = kind
        self.repairs = tuple(repairs)  # kinds of faults that were mended before


def decode(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (H, W) of a compressed RLE; `SegmentationError` where the runs do not fill it."""
    runs = read_runs(counts)
    check_runs(runs, height, width)
    return np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(width, height).T


def check_runs(runs: NDArray[np.int64], height: int, width: int) -> None:
    if (runs < 0).any() or runs.sum() != height * width:
        raise SegmentationError("malformed_segmentation", f"the runs do not fill {height} × {width} pixels")


def read_runs(counts: str | bytes) -> NDArray[np.int64]:
    """The run lengths in COCO's code: characters of 5 bits, lowest first, bit 6 = more follow; from the
    fourth run on, the difference to the run before the last (`rleFrString` in maskApi.c).
    """
    data = counts.encode("latin1", "replace") if isinstance(counts, str) else counts
    codes = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - 48
    if not codes.size or (codes < 0).any() or (codes > 63).any() or codes[-1] & 32:
        raise SegmentationError("malformed_segmentation", "the counts of an RLE are no COCO code")
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
