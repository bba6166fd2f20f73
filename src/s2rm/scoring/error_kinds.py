"""Why predictions lose: each expression's loss 1 − IoU belongs to one kind of error.

The idea is TIDE's for detection (Bolya et al., ECCV 2020, arXiv 2008.08115): how many points would be won if
all errors of one kind were corrected. Here the corrected mask is the true one, so the points of all kinds add
up to 100 − mIoU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from s2rm.data.rle import Runs, count_pixels, count_shared, subtract
from s2rm.scoring.metrics import compute_iou

# Kind → what it means; each expression with an IoU below 1 belongs to the first that fits.
KINDS = {
    "good": "right object, IoU of 0.5 or more",
    "empty": "nothing is predicted, or nearly the whole image",
    "several": "the referent and other objects",
    "wrong": "another object more than the referent",
    "poor": "right object, IoU of 0.1 to 0.5",
    "background": "neither the referent nor another annotated object",
}
GOOD, POOR = 0.5, 0.1  # IoU
WHOLE = 0.95  # share of the image
COVERED = 0.5  # share of an object from which on a prediction includes it
INSIDE = 0.5  # share of an object from which on it is a part of the referent
SAME = 0.5  # IoU from which on two annotations mean the same thing


@dataclass(frozen=True)
class Surroundings:
    """The annotated objects of an image."""

    pixels: int
    objects: Sequence[Runs]


def classify(predicted: Runs, truth: Runs, scene: Surroundings) -> str:
    """Return the kind of error of one prediction, one of `KINDS`.

    The referent and another object are both predicted ("several") where half of the referent is, and half of
    what the other object has outside of it. An object that lies mostly inside the referent, such as a tie on
    a person, is part of it and does not count. "Wrong" compares IoUs: with another object it is higher than
    with the referent, as where only the tie is predicted.

    Args:
        predicted: at the image's size, as all masks here.
        truth: the referent.
        scene: all annotated objects, the referent may be among them.
    """
    area, wanted, shared = count_pixels(predicted), count_pixels(truth), count_shared(predicted, truth)
    iou = shared / (area + wanted - shared) if area + wanted - shared else 0.0
    if iou >= GOOD:
        return "good"
    if not area or (area >= WHOLE * scene.pixels and wanted < WHOLE * scene.pixels):
        return "empty"
    outside = subtract(predicted, truth)
    several = wrong = False
    for mask in scene.objects:
        size, common = count_pixels(mask), count_shared(mask, truth)
        if common >= SAME * (size + wanted - common):
            continue
        if shared >= COVERED * wanted and common < INSIDE * size:
            several |= count_shared(mask, outside) >= COVERED * (size - common)
        overlap = count_shared(mask, predicted)
        wrong |= overlap / (area + size - overlap) > iou
    if several or wrong:
        return "several" if several else "wrong"
    return "poor" if iou >= POOR else "background"


def lost_points(kinds: ArrayLike, intersection: ArrayLike, union: ArrayLike) -> pd.Series:
    """Return kind → points of mIoU that are lost by it; they add up to 100 − mIoU.

    Args:
        kinds: (N,), the kind of each expression.
        intersection: (N,), pixels.
        union: (N,), pixels.
    """
    loss = pd.Series(100 * (1 - compute_iou(intersection, union)) / len(np.asarray(kinds)))
    return loss.groupby(np.asarray(kinds)).sum().reindex(list(KINDS), fill_value=0.0)
