"""Calibration: does the score of a prediction, read as an estimate of its IoU, say how good the mask is?"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

BINS = 10
COLUMNS = ("low", "high", "expressions", "score", "IoU")


def calibrate(score: ArrayLike, iou: ArrayLike) -> pd.DataFrame:
    """Compare scores and IoUs in bins of the score: the reliability curve.

    Args:
        score: (n,), 0…1; NaN where a prediction has none, which is then left out.
        iou: (n,), 0…1.

    Returns:
        One row per bin: `low` and `high` (its bounds), `expressions`, and the means of `score` (0…1) and
        `IoU` (percent), NaN in an empty bin. Without any score it has no rows.
    """
    score, iou = np.asarray(score, dtype=float), 100 * np.asarray(iou, dtype=float)
    given = ~np.isnan(score)
    if not given.any():
        return pd.DataFrame(columns=list(COLUMNS))
    place = (score[given] * BINS).astype(int).clip(max=BINS - 1)  # a score of 1 belongs to the last bin
    counts = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values[given], minlength=BINS) for values in (score, iou)]
    means = [np.divide(each, counts, out=np.full(BINS, np.nan), where=counts > 0) for each in sums]
    bounds = np.arange(BINS + 1) / BINS
    return pd.DataFrame(dict(zip(COLUMNS, (bounds[:-1], bounds[1:], counts, *means), strict=True)))


def expected_error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error (ECE) in points of IoU; NaN without any score.

    It is the mean over expressions of |mean score − mean IoU| of their bin.
    """
    filled = bins[bins["expressions"] > 0]
    if filled.empty:
        return float("nan")
    return float(np.average((100 * filled["score"] - filled["IoU"]).abs(), weights=filled["expressions"]))
