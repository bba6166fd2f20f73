"""Intervals: over images by a cluster bootstrap, over seeds by Welch's t-test.

The expressions of an image share its scene and its objects and are not independent, so images are drawn with
replacement, each with all of its expressions (Davison and Hinkley, Bootstrap Methods and their Application,
1997, section 3.8). Benchmarks share images (RefCOCO and RefCOCO+ all of their evaluation images), so an image
is drawn once for all of them. Two models are scored on the same expressions, so each resample draws both
(paired).
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2rm.config.benchmarks import get_benchmark

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True)
class Interval:
    """A number with its interval, in the unit of the samples; NaN where there is none."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Return it with None for NaN, which JSON does not have."""
        return {name: None if math.isnan(number) else number for name, number in vars(self).items()}


@dataclass(frozen=True)
class Ratio:
    """A ratio of two sums over expressions, such as oIoU, or mIoU with denominators of 1."""

    numerator: ArrayLike
    """(n,)."""
    denominator: ArrayLike
    """(n,), not negative."""
    image: Sequence[Any]
    """(n,), the name of each expression's image, the same in all benchmarks; names can be sorted."""
    weight: float = 1.0
    """Of this ratio in the sum of all."""


def name_images(benchmark: str, image_ids: Iterable[int]) -> list[tuple[str, int]]:
    """Name the image of each expression: RefCOCO and RefCOCO+ share theirs, ReferIt has its own.

    Args:
        benchmark: of the expressions.
        image_ids: one for each expression.
    """
    collection = get_benchmark(benchmark).images
    return [(collection, int(image)) for image in image_ids]


def mean_ratios(benchmarks: Sequence[Ratio], weight: float = 1.0) -> list[Ratio]:
    """Return the ratios whose sum is `weight` times their mean."""
    share = weight / len(benchmarks)
    return [Ratio(each.numerator, each.denominator, each.image, share * each.weight) for each in benchmarks]


def bootstrap(ratios: Sequence[Ratio], *, resamples: int = RESAMPLES) -> Interval:
    """Add up weighted ratios, and give the percentile interval over images.

    Args:
        ratios: of one or several benchmarks and models; their images are drawn together.
        resamples: number of draws.

    Returns:
        The sum. Its interval is NaN where it has fewer than two images.
    """
    return bootstrap_all([ratios], resamples=resamples)[0]


def bootstrap_all(groups: Sequence[Sequence[Ratio]], *, resamples: int = RESAMPLES) -> list[Interval]:
    """Do the same for several sums, with the same draws: all images of all of them are drawn together.

    Args:
        groups: the ratios of each sum.
        resamples: number of draws.

    Returns:
        One interval for each group.
    """
    ratios = list(chain.from_iterable(groups))
    if not ratios:
        return []
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    weights = np.zeros((len(ratios), len(groups)))
    weights[np.arange(len(ratios)), owner] = [ratio.weight for ratio in ratios]
    distinct = sorted(set(chain.from_iterable(ratio.image for ratio in ratios)))
    names = {name: number for number, name in enumerate(distinct)}
    images = [np.fromiter((names[name] for name in ratio.image), np.int64) for ratio in ratios]
    sums = np.stack(
        [
            np.bincount(image, weights=np.asarray(values, dtype=float), minlength=len(names))
            for ratio, image in zip(ratios, images, strict=True)
            for values in (ratio.numerator, ratio.denominator)
        ],
        axis=1,
    )  # (images, 2 × ratios)
    found = [float(value) for value in _add(sums.sum(0, keepdims=True), weights)[0]]
    if len(names) < 2:
        return [Interval(value, float("nan"), float("nan")) for value in found]
    rng = np.random.default_rng(SEED)
    drawn = np.empty((resamples, sums.shape[1]))
    for row in drawn:
        counts = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        row[:] = counts @ sums
    values = _add(drawn, weights)  # (resamples, groups)
    tail = 100 * (1 - CONFIDENCE) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a group without any expression
        lows, highs = np.nanpercentile(values, [tail, 100 - tail], axis=0)
    seen = np.zeros((len(groups), len(names)), dtype=bool)
    for group, image in zip(owner, images, strict=True):
        seen[group, image] = True
    # All draws of a single image are alike: an interval of no width would say that its number is certain.
    lows, highs = np.where(seen.sum(1) < 2, np.nan, [lows, highs])
    return [
        Interval(value, float(low), float(high)) for value, low, high in zip(found, lows, highs, strict=True)
    ]


def welch_difference(first: ArrayLike, second: ArrayLike) -> Interval:
    """Return the difference of two means with Welch's interval, which assumes no equal variances.

    Args:
        first: one number for each training of a model, as its mIoU by seed.
        second: the same for the other model; the seeds need not be the same.

    Returns:
        mean(first) − mean(second). The interval covers the true difference of the two means over all
        seeds, 95 times out of 100; it is NaN where a model has a single training.
    """
    from scipy.stats import ttest_ind  # which evaluations and `s2rm score` do without

    first, second = np.asarray(first, float), np.asarray(second, float)
    value = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return Interval(value, float("nan"), float("nan"))
    interval = ttest_ind(first, second, equal_var=False).confidence_interval(CONFIDENCE)
    return Interval(value, float(interval.low), float(interval.high))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p-values of several tests by Holm's method (Scandinavian Journal of Statistics 6, 1979).

    Args:
        p_values: (n,); NaN where nothing was tested.

    Returns:
        (n,): below α where the test is significant at a family-wise error of α.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(np.where(np.isnan(p), np.inf, p))
    tests = int((~np.isnan(p)).sum())
    adjusted = np.full(p.shape, np.nan)
    largest = 0.0
    for rank, index in enumerate(order[:tests]):
        largest = max(largest, min(1.0, (tests - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def _add(sums: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted sums of the ratios, (draws, groups).

    Args:
        sums: (draws, 2 × ratios), numerators and denominators alternately.
        weights: (ratios, groups).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = sums[:, ::2] / sums[:, 1::2]
    return np.stack([ratios[:, used] @ weights[used, i] for i, used in enumerate(weights.T != 0)], axis=1)
