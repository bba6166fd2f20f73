"""Scores of a run with their intervals: of each split, and of the mean over its val splits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from s2rm.scoring.intervals import Interval, Ratio, bootstrap_all, mean_ratios, name_images
from s2rm.scoring.metrics import PROTOCOLS, THRESHOLDS, compute_iou

Split = tuple[str, str]  # benchmark, split
Key = tuple[str, str]  # metric, protocol
WITH_INTERVAL: tuple[Key, ...] = tuple((metric, size) for metric in ("mIoU", "oIoU") for size in PROTOCOLS)
RESAMPLES = 2000


@dataclass(frozen=True)
class Scored:
    """The scores of a split, or of a mean over splits, in percent."""

    images: int
    expressions: int
    intervals: dict[Key, Interval]
    """mIoU and oIoU at both sizes, with 95 % intervals over images."""
    precision: dict[float, float]
    """Threshold → P@X at the model's size."""


def measure(scores: Mapping[Split, pd.DataFrame]) -> tuple[dict[Split, Scored], Scored | None]:
    """Measure a run.

    Args:
        scores: by split, the tables of `s2rm.reporting.scores_io.load_scores`.

    Returns:
        Each split, and the mean over the val splits; None where there is none. An image that several
        benchmarks share is drawn once for all of them.
    """
    val = [key for key in scores if key[1] == "val"]
    ratios = {
        (key, *what): _ratio(key, table, *what) for key, table in scores.items() for what in WITH_INTERVAL
    }
    groups = [[ratio] for ratio in ratios.values()]
    if val:
        groups += [mean_ratios([ratios[(key, *what)] for key in val]) for what in WITH_INTERVAL]
    found = iter(bootstrap_all(groups, resamples=RESAMPLES))
    splits = {
        key: Scored(
            table["image_id"].nunique(),
            len(table),
            {what: next(found) for what in WITH_INTERVAL},
            _precision(table),
        )
        for key, table in scores.items()
    }
    if not val:
        return splits, None
    mean = Scored(
        len({image for key in val for image in name_images(key[0], scores[key]["image_id"])}),
        sum(splits[key].expressions for key in val),
        {what: next(found) for what in WITH_INTERVAL},
        {
            threshold: float(np.mean([splits[key].precision[threshold] for key in val]))
            for threshold in THRESHOLDS
        },
    )
    return splits, mean


def write_span(interval: Interval, decimals: int = 1) -> str:
    """Write an interval, as "[71.2, 73.4]"; "" where there is none."""
    if math.isnan(interval.low):
        return ""
    return f"[{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def _ratio(key: Split, table: pd.DataFrame, metric: str, size: str) -> Ratio:
    shared, union = (table[f"{part}_{size}"].to_numpy(float) for part in ("intersection", "union"))
    images = name_images(key[0], table["image_id"])
    if metric == "oIoU":
        return Ratio(100 * shared, union, images)
    return Ratio(100 * compute_iou(shared, union), np.ones(len(table)), images)


def _precision(table: pd.DataFrame) -> dict[float, float]:
    iou = compute_iou(table["intersection_model"], table["union_model"])
    return {threshold: 100 * float((iou >= threshold).mean()) for threshold in THRESHOLDS}
