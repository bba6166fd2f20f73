"""Each kind of error is found where it was made, and all of them add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2rm.data.rle import to_runs
from s2rm.scoring.error_kinds import KINDS, Surroundings, classify, lost_points
from s2rm.scoring.metrics import compute_iou

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
        (box(2, 2, 12, 12) | box(25, 25, 37, 30), "good"),
    ],
)
def test_constructed_cases(predicted: np.ndarray, kind: str) -> None:
    scene = Surroundings(SIDE * SIDE, [to_runs(TRUTH), to_runs(OTHER)])
    assert classify(to_runs(predicted), to_runs(TRUTH), scene) == kind


def test_a_second_annotation_of_the_referent_is_no_other_object() -> None:
    twice = Surroundings(SIDE * SIDE, [to_runs(TRUTH), to_runs(box(2, 2, 12, 13))])
    assert classify(to_runs(box(2, 2, 12, 5)), to_runs(TRUTH), twice) == "poor"


TIE, PERSON = box(6, 4, 8, 10), box(2, 2, 12, 22)


@pytest.mark.parametrize(
    ("predicted", "truth", "kind"),
    [
        (box(0, 0, 25, 25), PERSON, "poor"),  # the tie lies inside the referent, so it does not count
        (TIE, PERSON, "wrong"),  # nothing but the tie
        (box(2, 2, 12, 9), PERSON, "poor"),
        (PERSON, TIE, "several"),
        (box(2, 2, 12, 10), TIE, "wrong"),  # less than half of the person outside of the tie
    ],
)
def test_a_part_of_the_referent(predicted: np.ndarray, truth: np.ndarray, kind: str) -> None:
    scene = Surroundings(SIDE * SIDE, [to_runs(TIE), to_runs(PERSON)])
    assert classify(to_runs(predicted), to_runs(truth), scene) == kind


def test_an_object_that_overlaps_the_referent_counts_by_its_pixels_outside() -> None:
    rider, horse = box(5, 5, 10, 20), box(2, 15, 30, 25)  # they share 5 × 5 pixels
    scene = Surroundings(SIDE * SIDE, [to_runs(rider), to_runs(horse)])
    assert classify(to_runs(rider | box(2, 15, 20, 25)), to_runs(rider), scene) == "several"
    assert classify(to_runs(rider | box(0, 15, 14, 25)), to_runs(rider), scene) == "poor"


def test_a_referent_that_fills_the_image() -> None:
    scene = Surroundings(SIDE * SIDE, [to_runs(~NOTHING)])
    assert classify(to_runs(~NOTHING), to_runs(~NOTHING), scene) == "good"
    assert classify(to_runs(box(0, 0, 40, 15)), to_runs(~NOTHING), scene) == "poor"


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_the_points_add_up(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    union = rng.integers(0, 1000, count)
    intersection = (union * rng.random(count)).astype(int)
    kinds = rng.choice(list(KINDS), count)
    points = lost_points(kinds, intersection, union)
    assert list(points.index) == list(KINDS)
    assert abs(points.sum() - (100 - 100 * compute_iou(intersection, union).mean())) < 1e-9
