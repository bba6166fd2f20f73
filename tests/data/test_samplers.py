"""Batches of expressions under their images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2rm.data.samplers import Group, GroupedBatchSampler, ImageBatchSampler, group_by_image

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def groups_of(sizes: list[int]) -> list[Group]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


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
    assert group_by_image(["b", "a", "b", "c", "a"]) == [[0, 2], [1, 4], [3]]
    assert group_by_image([]) == []


@given(SIZES, st.integers(1, 5))
def test_ordered_batches_take_images_whole(sizes: list[int], images: int) -> None:
    groups = groups_of(sizes)
    batches = ImageBatchSampler(groups, images)
    found = list(batches)
    assert len(found) == len(batches)
    assert [group for batch in found for group in batch] == groups
    assert {len(batch) for batch in found[:-1]} <= {images}


@pytest.mark.parametrize(("per_image", "expected"), [(1, 4.0), (2, 2.5), (6, 1.5)])
def test_images_per_batch(per_image: int, expected: float) -> None:
    """Three images with 3, 4 and 1 expressions, in batches of 4."""
    sampler = GroupedBatchSampler(
        [[0, 1, 2], [3, 4, 5, 6], [7]], expressions=4, expressions_per_image=per_image, seed=0
    )
    assert sampler.images_per_batch == expected
