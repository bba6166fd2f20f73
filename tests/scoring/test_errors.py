"""Each kind of error is found where it was made, and all of them add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2rm.scoring.errors import KINDS, Scene, classify, lost_points
from s2rm.scoring.metrics import compute_iou
from s2rm.scoring.runs import from_mask

SIDE = 40


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


TRUTH, OTHER = box(2, 2, 12, 12), box(25, 25, 37, 37)
NOTHING = np.zeros((SIDE, SIDE), dtype=bool)


@pytest.mark.parametrize(
    ("predicted", "kind"),
    [
        (TRUTH, "good"),
        (box(2, 2, 12, 9), "good"),
        (NOTHING, "empty"),
        (~NOTHING, "empty"),
        (TRUTH | OTHER, "several"),
        (OTHER, "wrong"),
        (box(20, 20, 40, 40), "wrong"),
        (box(2, 2, 12, 5), "poor"),
        (box(2, 2, 20, 20), "poor"),
        (box(15, 2, 22, 9), "background"),
        (box(11, 11, 20, 20), "background"),
    ],
)
def test_constructed_cases(predicted: np.ndarray, kind: str) -> None:
    scene = Scene(SIDE * SIDE, [from_mask(TRUTH), from_mask(OTHER)])
    assert classify(from_mask(predicted), from_mask(TRUTH), scene) == kind


def test_a_second_annotation_of_the_referent_is_no_other_object() -> None:
    twice = Scene(SIDE * SIDE, [from_mask(TRUTH), from_mask(box(2, 2, 12, 13))])
    assert classify(from_mask(box(2, 2, 12, 5)), from_mask(TRUTH), twice) == "poor"


def test_a_referent_that_fills_the_image() -> None:
    scene = Scene(SIDE * SIDE, [from_mask(~NOTHING)])
    assert classify(from_mask(~NOTHING), from_mask(~NOTHING), scene) == "good"
    assert classify(from_mask(box(0, 0, 40, 15)), from_mask(~NOTHING), scene) == "poor"


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_the_points_add_up(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    union = rng.integers(0, 1000, count)
    intersection = (union * rng.random(count)).astype(int)
    kinds = rng.choice(list(KINDS), count)
    points = lost_points(kinds, intersection, union)
    assert list(points.index) == list(KINDS)
    assert abs(points.sum() - (100 - 100 * compute_iou(intersection, union).mean())) < 1e-9
