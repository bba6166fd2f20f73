"""The test of a difference by images: exact in small cases, right where expressions belong together."""

from itertools import product

import numpy as np
import pytest

from s2rm.scoring.significance import sign_flip_test


def test_all_exchanges_of_few_images() -> None:
    differences, image = np.array([3.0, 1.0, -1.0, 2.0, 0.0]), ["a", "a", "b", "c", "d"]
    sums = [4.0, -1.0, 2.0]
    exact = np.mean([abs(np.dot(signs, sums)) >= 5 for signs in product((-1, 1), repeat=3)])
    assert sign_flip_test(differences, image) == pytest.approx(exact, abs=0.02)


def test_no_difference() -> None:
    assert sign_flip_test(np.zeros(5), list("aabbc")) == 1.0


def test_equal_models_are_rejected_as_often_as_said() -> None:
    """Images have 4 to 10 expressions with an effect of the image; McNemar's test rejects 18 % of these."""
    rng = np.random.default_rng(0)
    rejected, simulations = 0, 400
    for _ in range(simulations):
        image = np.repeat(np.arange(100), rng.integers(4, 11, 100))
        right = [rng.random(len(image)) < rng.beta(0.5, 0.5, 100)[image] for _ in range(2)]
        rejected += sign_flip_test(right[0].astype(float) - right[1], image.tolist(), resamples=400) < 0.05
    assert 0.02 < rejected / simulations < 0.08
