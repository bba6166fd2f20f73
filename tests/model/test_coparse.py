"""The coparsing: what a slice depends on, and what a rotation does to it."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d

from s2rm.model.coparse import Bundle, Coparse

WIDTH = 6
RECURRENCES = pytest.mark.parametrize("recurrence", ["scan", "gru"])


def build(recurrence: str, rotations: int = 4, kernel: int = 3) -> Coparse:
    torch.manual_seed(0)
    return Coparse(WIDTH, kernel, recurrence, rotations).double()


def contexts(size: tuple[int, int], count: int = 2) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    shape = (count, WIDTH, *size)
    generator, parsed = (torch.randn(shape, generator=random, dtype=torch.float64) for _ in range(2))
    return generator, parsed


def dependencies(coparse: Coparse, rotation: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """For each position of the parsed semantic, the positions of generator and parsed that matter."""
    generator, parsed = (context.requires_grad_() for context in contexts(size, count=1))
    semantic = coparse(generator, parsed)[rotation].sum((0, 1)).flatten()
    found = []
    for value in semantic:
        gradients = torch.autograd.grad(value, (generator, parsed), retain_graph=True)
        found.append([gradient.abs().sum((0, 1)).flatten() > 0 for gradient in gradients])
    on_generator, on_parsed = (torch.stack(list(rows)) for rows in zip(*found, strict=True))
    return on_generator, on_parsed


def rotated_places(size: tuple[int, int], rotation: int) -> tuple[Tensor, Tensor]:
    """Row and column, in the map rotated by torch.rot90, of each position of the unrotated map."""
    positions = torch.arange(size[0] * size[1]).view(size)
    rotated = torch.rot90(positions, rotation)
    order = rotated.flatten().argsort()
    return order // rotated.shape[1], order % rotated.shape[1]


@RECURRENCES
@pytest.mark.parametrize("size", [(3, 3), (2, 4)], ids=str)
@pytest.mark.parametrize("rotation", range(4))
def test_a_slice_depends_on_slices_before_it_and_on_no_later_one(
    recurrence: str, size: tuple[int, int], rotation: int
) -> None:
    on_generator, on_parsed = dependencies(build(recurrence), rotation, size)
    row, column = rotated_places(size, rotation)
    distance = (column[:, None] - column[None]).abs()
    before = row[None] <= row[:, None]
    # The generator's slice is bundled by a kernel of 3; the parsed context is read position by position.
    assert torch.equal(on_generator, before & (distance <= 1))
    # The gate sees the parsed context at every slice before, so it too matters, but never ahead.
    assert torch.equal(on_parsed, before & (distance == 0))


def test_rotation_0_is_row_by_row() -> None:
    """The same in the words of the design, without rotations: nothing of the test's own to trust."""
    generator, parsed = (context.requires_grad_() for context in contexts((5, 3)))
    semantic = build("scan", rotations=1)(generator, parsed)[0]
    for t in range(5):
        by_generator, by_parsed = torch.autograd.grad(
            semantic[:, :, t].sum(), (generator, parsed), retain_graph=True
        )
        assert (by_generator[:, :, : t + 1].abs() > 0).all()
        assert not by_generator[:, :, t + 1 :].any()
        assert (by_parsed[:, :, t].abs() > 0).all()
        assert not by_parsed[:, :, t + 1 :].any()


@RECURRENCES
@pytest.mark.parametrize("size", [(4, 4), (3, 5)], ids=str)
def test_rotating_both_contexts_permutes_and_rotates_the_semantics(
    recurrence: str, size: tuple[int, int]
) -> None:
    coparse, (generator, parsed) = build(recurrence), contexts(size)
    upright = coparse(generator, parsed)
    turned = coparse(torch.rot90(generator, 1, (2, 3)), torch.rot90(parsed, 1, (2, 3)))
    for rotation in range(4):
        expected = torch.rot90(upright[(rotation + 1) % 4], 1, (2, 3))
        torch.testing.assert_close(turned[rotation], expected)


def plainly(coparse: Coparse, generator: Tensor, parsed: Tensor) -> Tensor:
    """The equations of the design at rotation 0, slice by slice; (C, H, W) each."""
    kernel = (coparse.bundle.weight + coparse.bundle.weight.flip(-1)) / 2
    recurrence = coparse.recurrence

    def pointwise(layer: torch.nn.Conv2d, x: Tensor) -> Tensor:
        y = layer.weight[:, :, 0, 0] @ x
        return y if layer.bias is None else y + layer.bias[:, None]

    h, semantic = torch.zeros_like(parsed[:, 0]), []
    for t in range(generator.shape[1]):
        g, p = generator[:, t], parsed[:, t]
        u = conv1d(g[None], kernel, padding=coparse.bundle.size // 2, groups=WIDTH)[0]
        if hasattr(recurrence, "gru"):
            step = torch.cat([u, p]).T[None]
            h = recurrence.gru(step, h.T[None].contiguous())[0][0].T
        else:
            z = torch.sigmoid(pointwise(recurrence.gate_generator, u) + pointwise(recurrence.gate_parsed, p))
            h = (1 - z) * h + z * torch.tanh(pointwise(recurrence.candidate, u))
        semantic.append(p * torch.sigmoid(pointwise(coparse.gate, h)) + pointwise(coparse.read, h))
    return torch.stack(semantic, 1)


@pytest.mark.parametrize(("recurrence", "kernel"), [("scan", 1), ("scan", 3), ("scan", 5), ("gru", 3)])
def test_every_rotation_is_the_plain_sweep_of_the_rotated_contexts(recurrence: str, kernel: int) -> None:
    coparse, (generator, parsed) = build(recurrence, kernel=kernel), contexts((3, 4))
    for rotation, semantic in enumerate(coparse(generator, parsed)):
        expected = torch.stack(
            [
                torch.rot90(
                    plainly(coparse, *(torch.rot90(x, rotation, (1, 2)) for x in pair)), -rotation, (1, 2)
                )
                for pair in zip(generator, parsed, strict=True)
            ]
        )
        torch.testing.assert_close(semantic, expected)


@pytest.mark.parametrize("rotations", [1, 2, 4])
def test_fewer_rotations_are_the_first_ones(rotations: int) -> None:
    inputs = contexts((3, 4))
    every = build("scan")(*inputs)
    some = build("scan", rotations)(*inputs)
    assert len(some) == rotations
    torch.testing.assert_close(some, every[:rotations])


@RECURRENCES
def test_maps_of_images_may_be_given_with_an_index(recurrence: str) -> None:
    coparse, (generator, parsed) = build(recurrence), contexts((3, 4))
    index = torch.tensor([1, 0, 1])
    plain = coparse(generator[index], parsed[index])
    torch.testing.assert_close(coparse(generator, parsed[index], generator_index=index), plain)
    torch.testing.assert_close(coparse(generator[index], parsed, parsed_index=index), plain)


def test_bundling_is_symmetric_along_the_slice_only() -> None:
    bundle = Bundle(WIDTH, 3).double()
    generator, _ = contexts((4, 5))
    rows = bundle(generator, 2)
    torch.testing.assert_close(bundle(generator.flip(3), 2), rows.flip(3))
    torch.testing.assert_close(bundle(generator.transpose(2, 3), 3), rows.transpose(2, 3))
    one_row = torch.zeros_like(generator)
    one_row[:, :, 1] = generator[:, :, 1]
    assert not bundle(one_row, 2)[:, :, [0, 2, 3]].any()
