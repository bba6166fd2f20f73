"""Rasterises REFER's segmentations to masks, kept as compressed run lengths (`s2rm.data.rle`).

The C code of pycocotools trusts its input: run lengths that do not fill the image make it read or write
beyond its memory, and a polygon of two points is taken for a box. So everything is checked first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco

from s2rm.data.rle import SegmentationError, check_runs, read_runs
from s2rm.refer.forms import read_polygons

BORDER = 0.5  # pixels that a polygon may reach over the border: rounded coordinates, not an issue
LONGEST_OUTLINE = 2_000_000  # pixels; pycocotools' memory grows with it, 5 samples per pixel


@dataclass(frozen=True)
class Mask:
    """The mask of one annotation."""

    counts: str  # compressed RLE
    area: int  # pixels
    box: tuple[float, float, float, float]  # x, y, width, height of the pixels that are set
    repairs: tuple[str, ...]  # kinds of issues that were repaired


def rasterise(segmentation: Any, height: int, width: int) -> Mask:
    """Return the mask of a segmentation: the union of its parts.

    Where parts overlap, the union follows CARIS and CRIS; `refer.getMask` sums the parts instead.

    Args:
        segmentation: a list of polygons [x, y, x, y, …] (COCO) or in another form that
            `forms.read_polygons` reads, one RLE (COCO's crowds), or a list of RLEs
            (ReferIt); an RLE is {size: [h, w], counts: list of int, str or bytes}.
        height: the image's height in pixels.
        width: the image's width in pixels.

    Raises:
        SegmentationError: the segmentation has another form or size, or gives an empty mask.
    """
    rles, repairs = [], []
    parts = read_polygons(segmentation) if isinstance(segmentation, list) else [segmentation]
    if isinstance(segmentation, list) and parts != segmentation:
        repairs.append("polygon_form")
    for part in parts:
        if isinstance(part, dict):
            rles.append(_check_rle(part, height, width))
            continue
        issue = _check_polygon(part, height, width)
        if issue:
            repairs.append(issue)
        if issue in (None, "polygon_clipped"):  # pycocotools itself clips at the border
            rles += coco.frPyObjects([part], height, width)
    if not rles:
        raise SegmentationError(
            "mask_empty",
            "no part is left" if parts else "it has no part (a bbox alone is not a mask)",
            repairs,
        )
    union = rles[0] if len(rles) == 1 else coco.merge(rles)
    area = int(coco.area(union))
    if not area:
        raise SegmentationError("mask_empty", "no pixel is set", repairs)
    x, y, box_width, box_height = coco.toBbox(union).tolist()
    return Mask(union["counts"].decode("ascii"), area, (x, y, box_width, box_height), tuple(repairs))


def _check_polygon(polygon: Any, height: int, width: int) -> str | None:
    """Return the kind of an issue that can be repaired, or None."""
    try:
        points = np.asarray(polygon)
    except ValueError:  # lists of different lengths
        points = np.empty((0, 0))
    if points.ndim != 1 or points.dtype.kind not in "iuf":
        raise SegmentationError("malformed_segmentation", "a part is neither a polygon nor an RLE")
    if points.size % 2 or not np.isfinite(points).all():
        raise SegmentationError("malformed_segmentation", "a polygon is not a list of finite x, y")
    if points.size < 6:
        return "polygon_points"
    if points.min() >= 0 and points.max() <= 1 < max(height, width) - 1 and points.dtype.kind == "f":
        raise SegmentationError("malformed_segmentation", "a polygon lies in 0…1: write its points in pixels")
    points = points.astype(float).reshape(-1, 2)
    previous = points[np.arange(len(points)) - 1]  # the first one follows the last: the outline is closed
    with np.errstate(over="ignore"):  # infinite is too long as well
        outline = abs(points - previous).max(axis=1).sum()
    if outline > LONGEST_OUTLINE:
        raise SegmentationError("malformed_segmentation", f"a polygon's outline is {outline:.0f} pixels long")
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return "polygon_outside"
    if min(left, top) < -BORDER or right > width + BORDER or bottom > height + BORDER:
        return "polygon_clipped"
    return None


def _check_rle(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Return the RLE with compressed counts."""
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list | tuple) or not isinstance(counts, list | str | bytes):
        raise SegmentationError("malformed_segmentation", "an RLE has no size or no counts")
    if list(size) == [width, height] != [height, width]:
        raise SegmentationError("mask_size", f"the RLE's size is [width, height], not {[height, width]}")
    if list(size) != [height, width]:
        raise SegmentationError("mask_size", f"RLE of {str(size)[:40]}, image of {[height, width]}")
    if isinstance(counts, list):
        counts = [int(run) if type(run) is float and run.is_integer() else run for run in counts]
        if not all(type(run) is int and 0 <= run <= height * width for run in counts):
            raise SegmentationError("malformed_segmentation", "the counts of an RLE are not run lengths")
        check_runs(np.array(counts, dtype=np.int64), height, width)
        return coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    check_runs(read_runs(counts), height, width)
    return {"size": [height, width], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
