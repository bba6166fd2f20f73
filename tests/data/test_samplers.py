"""Batches of expressions under their images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2rm.data.samplers import Group, GroupedBatchSampler, Groups, ImageBatchSampler

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


groups_of = Groups.of_sizes


@given(SIZES, st.integers(1, 10), st.integers(1, 5), st.integers(0, 3), st.integers(0, 5))
def test_every_row_once_in_full_batches(
    sizes: list[int], expressions: int, per_image: int, seed: int, epoch: int
) -> None:
    groups = groups_of(sizes)
    batches = GroupedBatchSampler(groups, expressions=expressions, expressions_per_image=per_image, seed=seed)
    batches.set_epoch(epoch)
    found = list(batches)
    assert len(found) == len(batches)
    rows = [[row for group in batch for row in group] for batch in found]
    assert sorted(row for batch in rows for row in batch) == list(range(sum(sizes)))
    assert {len(batch) for batch in rows[:-1]} <= {expressions}
    assert 1 <= len(rows[-1]) <= expressions
    owner = {row: i for i, group in enumerate(groups) for row in group}
    for chunk in (chunk for batch in found for chunk in batch):
        assert 1 <= len(chunk) <= per_image
        assert len({owner[row] for row in chunk}) == 1


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[Group]]:
        batches = GroupedBatchSampler(groups_of([5] * 10), expressions=7, expressions_per_image=3, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 0) == order(1, 0)
    orders = [order(seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def test_images_and_their_expressions_are_both_shuffled() -> None:
    batches = GroupedBatchSampler(groups_of([6] * 20), expressions=6, expressions_per_image=6, seed=0)
    chunks = [chunk for batch in batches for chunk in batch]
    assert len(chunks) == 20  # 6 fit into 6: an image is not torn apart without need
    assert [min(chunk) for chunk in chunks] != sorted(min(chunk) for chunk in chunks)
    assert any(chunk != sorted(chunk) for chunk in chunks)


def test_groups_are_in_the_order_of_their_first_rows() -> None:
    assert list(Groups.by_label(np.array([0, 1, 0, 2, 1]))) == [[0, 2], [1, 4], [3]]
    assert list(Groups.by_label(np.array([], dtype=int))) == []
    assert list(Groups.of_sizes([2, 1])) == [[0, 1], [2]]
    assert list(Groups.of_sizes([])) == []


@given(SIZES, st.integers(1, 5))
def test_ordered_batches_take_images_whole(sizes: list[int], images: int) -> None:
    groups = groups_of(sizes)
    batches = ImageBatchSampler(groups, images)
    found = list(batches)
    assert len(found) == len(batches)
    assert [group for batch in found for group in batch] == list(groups)
    assert {len(batch) for batch in found[:-1]} <= {images}


@pytest.mark.parametrize(("per_image", "expected"), [(1, 4.0), (2, 2.5), (6, 1.5)])
def test_images_per_batch(per_image: int, expected: float) -> None:
    """Three images with 3, 4 and 1 expressions, in batches of 4."""
    sampler = GroupedBatchSampler(
        Groups.of_sizes([3, 4, 1]), expressions=4, expressions_per_image=per_image, seed=0
    )
    assert sampler.images_per_batch == expected
