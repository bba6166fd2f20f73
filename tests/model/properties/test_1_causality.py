"""Property 1: a parsed slice depends on the generator's slices up to its own, and on no later one."""

import pytest
import torch
from drawn import EVERY_RECURRENCE, build_coparse, kernels, seeds, sizes, values, widths
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor


@EVERY_RECURRENCE
@pytest.mark.parametrize("rotation", range(4))
@settings(max_examples=15)
@given(data=st.data(), size=sizes, width=widths, kernel=kernels, seed=seeds)
def test_each_place_depends_on_what_lies_before_it(
    recurrence: str,
    state: str,
    rotation: int,
    data: st.DataObject,
    size: tuple[int, int],
    width: int,
    kernel: int,
    seed: int,
) -> None:
    """`size` is that of the rotated maps, whose slices are rows."""
    row, column = (data.draw(st.integers(0, side - 1)) for side in size)
    rotated = [values(1, width, *size, seed=seed + i).requires_grad_() for i in range(2)]
    contexts = [torch.rot90(context, -rotation, (2, 3)) for context in rotated]
    semantic = build_coparse(width, kernel, recurrence, 4, state, seed)(*contexts)[rotation]
    place = torch.rot90(semantic, rotation, (2, 3))[0, :, row, column]
    by_generator, by_parsed = torch.autograd.grad(place.sum(), rotated)

    rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    before, distance = rows <= row, (columns - column).abs()
    # The generator's slice is bundled by the kernel; the parsed context is read position by position. The
    # gate sees the parsed context at every slice before, so that it matters too, but never ahead.
    assert torch.equal(matters(by_generator), before & (distance <= kernel // 2))
    assert torch.equal(matters(by_parsed), before & (distance == 0))


def matters(gradient: Tensor) -> Tensor:
    return gradient[0].abs().sum(0) > 0


@EVERY_RECURRENCE
def test_rotation_0_is_row_by_row(recurrence: str, state: str) -> None:
    """The same without rotations, which need no code of the test's own."""
    generator, parsed = (values(2, 8, 5, 3, seed=i).requires_grad_() for i in range(2))
    semantic = build_coparse(8, 3, recurrence, 1, state, seed=0)(generator, parsed)[0]
    for t in range(5):
        by_generator, by_parsed = torch.autograd.grad(
            semantic[:, :, t].sum(), (generator, parsed), retain_graph=True
        )
        assert (by_generator[:, :, : t + 1].abs() > 0).all()
        assert not by_generator[:, :, t + 1 :].any()
        assert (by_parsed[:, :, t].abs() > 0).all()
        assert not by_parsed[:, :, t + 1 :].any()
