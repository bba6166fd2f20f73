"""Run lengths against decoded masks and pycocotools; untrusted ones never decode beyond a mask."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from s2rm.data.rle import (
    SegmentationError,
    check_runs,
    count_pixels,
    count_shared,
    encode,
    encode_runs,
    read_counts,
    read_runs,
    subtract,
    to_mask,
    to_runs,
)

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(MASKS)
def test_a_mask_there_and_back(mask: np.ndarray) -> None:
    found = to_runs(mask)
    assert found.sum() == mask.size
    assert np.array_equal(to_mask(found, *mask.shape), mask)
    assert count_pixels(found) == mask.sum()
    reference = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode()
    assert encode_runs(found) == reference
    assert np.array_equal(read_runs(reference), found)


@given(st.integers(0, 2**32 - 1))
def test_intersections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    masks = [rng.random((height, width)) < rng.random() for _ in range(2)]
    found = count_shared(*map(to_runs, masks))
    assert found == (masks[0] & masks[1]).sum()
    rest = subtract(*map(to_runs, masks))
    assert np.array_equal(rest, to_runs(masks[0] & ~masks[1]))


@pytest.mark.parametrize("filled", [False, True])
def test_empty_and_full(filled: bool) -> None:
    mask = np.full((3, 5), filled)
    assert count_pixels(to_runs(mask)) == 15 * filled
    assert count_shared(to_runs(mask), to_runs(mask)) == 15 * filled
    assert count_pixels(subtract(to_runs(mask), to_runs(~mask))) == 15 * filled


def test_large_runs() -> None:
    """Codes of several characters, and differences of both signs."""
    lengths = np.array([5, 40_000, 7, 3, 2_000_000, 90_000, 1, 500_000, 12])
    assert np.array_equal(read_runs(encode_runs(lengths)), lengths)


def test_both_forms_of_counts() -> None:
    mask = np.zeros((4, 3), dtype=bool)
    mask[1:3, 1] = True
    assert read_counts(encode(mask), 4, 3).tolist() == [5, 2, 5]
    assert read_counts(encode(mask).encode(), 4, 3).tolist() == [5, 2, 5]
    assert read_counts([5, 2, 5], 4, 3).tolist() == [5, 2, 5]


@pytest.mark.parametrize(
    "counts",
    [
        [2**62, 2**62, 2**62, 2**62, 12],  # their sum wraps around to 12
        [10**30],
        [-1, 13],
        [5, 2, 4],
        [13],
        [],
        [True] * 12,
        [12.0],
        ["12"],
        "",
        "é!",
        {"12": 12},
        None,
        12,
    ],
    ids=str,
)
def test_counts_that_fill_no_mask(counts: Any) -> None:
    with pytest.raises(SegmentationError):
        read_counts(counts, 4, 3)


def test_a_sum_that_wraps_around() -> None:
    with pytest.raises(SegmentationError, match="the runs do not fill 4 × 3 pixels"):
        check_runs(np.array([2**62] * 4 + [12]), 4, 3)
