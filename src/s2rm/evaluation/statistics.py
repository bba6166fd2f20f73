"""Test whether two models differ: over images by a paired bootstrap, over seeds by Welch's t-test.

Both models are scored on the same expressions, so each resample draws both together (paired). The
expressions of an image share its scene and its objects and are not independent, so images are drawn
with replacement, each with all of its expressions (a cluster bootstrap; Davison and Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap, ttest_ind

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0
BATCH = 500  # resamples in memory at a time


@dataclass(frozen=True)
class Difference:
    """A difference of means with its interval, in the unit of the samples."""

    value: float
    low: float
    high: float


def bootstrap_difference(samples: Sequence[tuple[ArrayLike, ArrayLike]]) -> Difference:
    """Average a difference over expressions, and over benchmarks, with its bootstrap interval.

    Args:
        samples: for each benchmark the difference at each expression (n,), and the image that each
            expression belongs to (n,). Images are drawn within their benchmark.

    Returns:
        The mean of the benchmarks' means over expressions. Its interval is NaN where a benchmark has a
        single image.
    """
    sums, counts = zip(*(_by_image(*sample) for sample in samples), strict=True)

    def mean(*drawn: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
        means = [
            total[rows].sum(axis) / count[rows].sum(axis)
            for total, count, rows in zip(sums, counts, drawn, strict=True)
        ]
        return np.mean(means, axis=0)

    images = [np.arange(len(count)) for count in counts]
    value = float(mean(*images, axis=-1))
    if min(map(len, images)) < 2:
        return Difference(value, float("nan"), float("nan"))
    interval = bootstrap(
        images,
        mean,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Difference(value, float(interval.low), float(interval.high))


def welch_difference(first: ArrayLike, second: ArrayLike) -> Difference:
    """Return the difference of two means with Welch's interval, which assumes no equal variances.

    Args:
        first: one number for each training of a model, as its mIoU by seed.
        second: the same for the other model; the seeds need not be the same.

    Returns:
        mean(first) − mean(second). The interval covers the true difference of the two means over all
        seeds, 95 times out of 100; it is NaN where a model has a single training.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    value = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return Difference(value, float("nan"), float("nan"))
    interval = ttest_ind(first, second, equal_var=False).confidence_interval(CONFIDENCE)
    return Difference(value, float(interval.low), float(interval.high))


def _by_image(differences: ArrayLike, images: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the sum of the differences and the number of expressions of each image, (images,) each."""
    _, image = np.unique(np.asarray(images), return_inverse=True)
    return np.bincount(image, weights=np.asarray(differences)), np.bincount(image)
