"""Compare models on the expressions that they were scored on, split by split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2rm.compare.sources import Source, SplitKey
from s2rm.core.errors import UserError
from s2rm.scoring.intervals import (
    Interval,
    Ratio,
    bootstrap,
    holm,
    mean_ratios,
    name_images,
    welch_difference,
)
from s2rm.scoring.metrics import compute_iou
from s2rm.scoring.significance import sign_flip_test

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
    """Of the two middle numbers, by images."""
    iou: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Each expression's IoU, the mean over trainings, 0…1."""
    iou_first: tuple[NDArray[np.float64], NDArray[np.float64]]
    """The same of the first trainings."""
    sent_id: NDArray[np.int64]
    image: list[tuple[str, int]]


@dataclass(frozen=True)
class Comparison:
    """Two models, each of one or several trainings, on all splits that all of them were scored on."""

    first: Sequence[Source]
    second: Sequence[Source]
    splits: list[Paired]
    mean: Interval
    """The difference of mIoU averaged over the splits; an image is drawn once for all of them."""


def compare(groups: Sequence[Sequence[Source]], size: Size) -> list[Comparison]:
    """Compare the first model with each of the others.

    Args:
        groups: the trainings of each model.
        size: at which the masks are compared.

    Returns:
        One for each of the others. The p-values of all of them are adjusted together, by Holm.

    Raises:
        UserError: they share no split, or were scored on other expressions or data.
    """
    found = [(other, _compare_pair(groups[0], other, size)) for other in groups[1:]]
    adjusted = iter(holm([each.p_value for _, splits in found for each in splits]))
    return [
        Comparison(
            groups[0],
            other,
            [replace(each, p_value=float(next(adjusted))) for each in splits],
            _compare_means(splits),
        )
        for other, splits in found
    ]


def _compare_pair(first: Sequence[Source], second: Sequence[Source], size: Size) -> list[Paired]:
    everything = [*first, *second]
    shared = [key for key in first[0].scores if all(key in each.scores for each in everything)]
    if not shared:
        names = "; ".join(
            f"{each.name} has {', '.join('-'.join(key) for key in each.scores)}" for each in everything
        )
        raise UserError(f"the models share no split: {names}")
    for key in shared:
        for source in everything[1:]:
            _require_same(key, first[0], source)
    return [_compare_split(key, first, second, size) for key in shared]


def _compare_means(paired: Sequence[Paired]) -> Interval:
    ratios = [
        Ratio(100 * (each.iou[0] - each.iou[1]), np.ones(each.expressions), each.image) for each in paired
    ]
    return bootstrap(mean_ratios(ratios))


def _require_same(key: SplitKey, first: Source, other: Source) -> None:
    """Refuse scores of other expressions, and of other data with the same ids, such as another drawing."""
    tables = first.scores[key], other.scores[key]
    same = all(tables[0][name].tolist() == tables[1][name].tolist() for name in ("sent_id", "image_id"))
    digests = {each.tables.get(key[0]) for each in (first, other)} - {None}
    if not same or len(digests) > 1:
        what = "data" if same else "expressions"
        raise UserError(f"{other.name} was scored on other {what} of {'-'.join(key)} than {first.name}")


def _compare_split(key: SplitKey, first: Sequence[Source], second: Sequence[Source], size: Size) -> Paired:
    tables = [[each.scores[key] for each in group] for group in (first, second)]
    image = name_images(key[0], tables[0][0]["image_id"])
    ones = np.ones(len(image))
    ious, own, mious, oious, ratios = [], [], [], [], []
    for sign, group in zip((1, -1), tables, strict=True):
        each = [compute_iou(*_pixels(table, size)) for table in group]
        ious.append(np.mean(each, axis=0))
        own.append(each[0])
        mious.append([100 * iou.mean() for iou in each])
        sums = [tuple(part.sum() for part in _pixels(table, size)) for table in group]
        oious.append(np.mean([100 * shared / union if union else 0.0 for shared, union in sums]))
        for table in group:
            shared, union = _pixels(table, size)
            ratios.append(Ratio(100 * shared, union, image, sign / len(group)))
    right = [iou >= RIGHT for iou in own]
    alone = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    return Paired(
        key=key,
        expressions=len(image),
        miou=(float(np.mean(mious[0])), float(np.mean(mious[1]))),
        oiou=(float(oious[0]), float(oious[1])),
        miou_difference=bootstrap([Ratio(100 * (ious[0] - ious[1]), ones, image)]),
        oiou_difference=bootstrap(ratios),
        seeds_difference=welch_difference(*mious),
        table=(int((right[0] & right[1]).sum()), *alone, int((~right[0] & ~right[1]).sum())),
        p_value=sign_flip_test(right[0].astype(float) - right[1], image),
        iou=(ious[0], ious[1]),
        iou_first=(own[0], own[1]),
        sent_id=tables[0][0]["sent_id"].to_numpy(),
        image=image,
    )


def _pixels(table: pd.DataFrame, size: Size) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return table[f"intersection_{size}"].to_numpy(float), table[f"union_{size}"].to_numpy(float)
