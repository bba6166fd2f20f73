"""Run lengths against decoded masks and against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from s2rm.data.rle import encode_runs, read_runs
from s2rm.scoring import runs

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(MASKS)
def test_a_mask_there_and_back(mask: np.ndarray) -> None:
    found = runs.from_mask(mask)
    assert found.sum() == mask.size
    assert np.array_equal(runs.to_mask(found, *mask.shape), mask)
    assert runs.count(found) == mask.sum()
    reference = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode()
    assert encode_runs(found) == reference
    assert np.array_equal(read_runs(reference), found)


@given(st.integers(0, 2**32 - 1))
def test_intersections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    masks = [rng.random((height, width)) < rng.random() for _ in range(2)]
    found = runs.intersect(*map(runs.from_mask, masks))
    assert found == (masks[0] & masks[1]).sum()


@pytest.mark.parametrize("filled", [False, True])
def test_empty_and_full(filled: bool) -> None:
    mask = np.full((3, 5), filled)
    assert runs.count(runs.from_mask(mask)) == 15 * filled
    assert runs.intersect(runs.from_mask(mask), runs.from_mask(mask)) == 15 * filled


def test_large_runs() -> None:
    """Codes of several characters, and differences of both signs."""
    lengths = np.array([5, 40_000, 7, 3, 2_000_000, 90_000, 1, 500_000, 12])
    assert np.array_equal(read_runs(encode_runs(lengths)), lengths)
