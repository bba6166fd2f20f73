"""Tests of a difference between two models, by images: the expressions of an image are not independent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from s2rm.scoring.intervals import RESAMPLES, SEED

TOGETHER = 256  # resamples that are computed at once


def sign_flip_test(differences: ArrayLike, image: Sequence[Any], *, resamples: int = RESAMPLES) -> float:
    """Return the two-sided p-value of the hypothesis that two models are equally good.

    If they are, exchanging them on an image changes nothing, so the sum of an image's differences is as
    likely with the other sign (Fisher, The Design of Experiments, 1935, with images as the pairs).

    Args:
        differences: (n,), one per expression, such as IoU of the first minus IoU of the second.
        image: (n,), the name of each expression's image; names can be sorted.
        resamples: number of random exchanges.
    """
    _, names = np.unique(np.asarray([repr(name) for name in image]), return_inverse=True)
    sums = np.bincount(names, weights=np.asarray(differences, dtype=float)).astype(np.float32)
    sums = sums[np.abs(sums) > 1e-6 * np.abs(sums).max(initial=0)]  # an equal image has no sign
    if not sums.size:
        return 1.0
    rng = np.random.default_rng(SEED)
    seen = np.abs(sums.sum()) * (1 - 1e-5)  # equal sums differ by rounding
    extreme = 0
    for start in range(0, resamples, TOGETHER):
        signs = rng.integers(0, 2, (min(TOGETHER, resamples - start), sums.size), dtype=np.int8)
        extreme += int((np.abs((2 * signs - 1).astype(np.float32) @ sums) >= seen).sum())
    return (1 + extreme) / (1 + resamples)
