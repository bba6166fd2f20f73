"""Compare two models on the expressions that both were scored on, split by split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from s2rm.compare.sources import Source, SplitKey
from s2rm.core.errors import UserError
from s2rm.scoring.image_names import name_images
from s2rm.scoring.intervals import Interval, Ratio, bootstrap, holm, mean_ratios, welch_difference
from s2rm.scoring.metrics import compute_iou

Size = Literal["model", "original"]
RIGHT = 0.5  # IoU


@dataclass(frozen=True)
class Paired:
    """Two models on one split, in percent."""

    key: SplitKey
    expressions: int
    miou: tuple[float, float]
    oiou: tuple[float, float]
    miou_difference: Interval
    """First minus second, paired, over images."""
    oiou_difference: Interval
    seeds_difference: Interval
    """Of mIoU over seeds; NaN with a single training of either."""
    table: tuple[int, int, int, int]
    """Expressions that both find (IoU ≥ 0.5), the first alone, the second alone, none; of the first
    trainings."""
    p_value: float
    """McNemar's exact test of the two middle numbers, adjusted by Holm over the splits."""
    iou: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Each expression's IoU, the mean over trainings, 0…1."""
    sent_id: NDArray[np.int64]


def compare(first: Sequence[Source], second: Sequence[Source], size: Size) -> list[Paired]:
    """Compare two groups of trainings on every split that all of them were scored on.

    Args:
        first: the trainings of one model.
        second: those of the other.
        size: at which the masks are compared.

    Raises:
        UserError: they share no split, or were scored on other expressions.
    """
    everything = [*first, *second]
    shared = [key for key in first[0].scores if all(key in each.scores for each in everything)]
    if not shared:
        names = "; ".join(
            f"{each.name} has {', '.join('-'.join(key) for key in each.scores)}" for each in everything
        )
        raise UserError(f"there is no split that all were scored on: {names}")
    found = [_compare_split(key, first, second, size) for key in shared]
    adjusted = holm([each.p_value for each in found])
    return [replace(each, p_value=float(p)) for each, p in zip(found, adjusted, strict=True)]


def compare_means(paired: Sequence[Paired], first: Sequence[Source], size: Size) -> Interval:
    """Return the difference of mIoU averaged over the splits; an image is drawn once for all of them."""
    ratios = [
        Ratio(
            100 * (each.iou[0] - each.iou[1]),
            np.ones(each.expressions),
            name_images(each.key[0], first[0].scores[each.key]["image_id"]),
        )
        for each in paired
    ]
    return bootstrap(mean_ratios(ratios))


def _compare_split(key: SplitKey, first: Sequence[Source], second: Sequence[Source], size: Size) -> Paired:
    tables = [[each.scores[key] for each in group] for group in (first, second)]
    reference = tables[0][0]["sent_id"].to_numpy()
    for group, sources in zip(tables, (first, second), strict=True):
        for table, source in zip(group, sources, strict=True):
            if not np.array_equal(table["sent_id"].to_numpy(), reference):
                raise UserError(
                    f"{source.name} was scored on other expressions of {'-'.join(key)} than {first[0].name}"
                )
    image = name_images(key[0], tables[0][0]["image_id"])
    ones = np.ones(len(reference))
    ious, mious, oious, ratios = [], [], [], []
    for sign, group in zip((1, -1), tables, strict=True):
        each = [compute_iou(*_pixels(table, size)) for table in group]
        ious.append(np.mean(each, axis=0))
        mious.append([100 * iou.mean() for iou in each])
        sums = [tuple(part.sum() for part in _pixels(table, size)) for table in group]
        oious.append(np.mean([100 * shared / union if union else 0.0 for shared, union in sums]))
        for table in group:
            shared, union = _pixels(table, size)
            ratios.append(Ratio(100 * shared, union, image, sign / len(group)))
    right = [compute_iou(*_pixels(group[0], size)) >= RIGHT for group in tables]
    alone = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    p_value = float(binomtest(alone[0], sum(alone)).pvalue) if sum(alone) else 1.0
    return Paired(
        key=key,
        expressions=len(reference),
        miou=(float(np.mean(mious[0])), float(np.mean(mious[1]))),
        oiou=(float(oious[0]), float(oious[1])),
        miou_difference=bootstrap([Ratio(100 * (ious[0] - ious[1]), ones, image)]),
        oiou_difference=bootstrap(ratios),
        seeds_difference=welch_difference(*mious),
        table=(int((right[0] & right[1]).sum()), *alone, int((~right[0] & ~right[1]).sum())),
        p_value=p_value,
        iou=(ious[0], ious[1]),
        sent_id=reference,
    )


def _pixels(table: pd.DataFrame, size: Size) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return table[f"intersection_{size}"].to_numpy(float), table[f"union_{size}"].to_numpy(float)
