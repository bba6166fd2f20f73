"""The scan is the recurrence h_t = (1 − z_t) h_{t−1} + z_t c_t, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2rm.model.scan import scan


def step_by_step(z: Tensor, c: Tensor, dim: int, reverse: bool) -> Tensor:
    order = range(z.shape[dim])[:: -1 if reverse else 1]
    h, states = torch.zeros_like(z.select(dim, 0)), {}
    for t in order:
        h = (1 - z.select(dim, t)) * h + z.select(dim, t) * c.select(dim, t)
        states[t] = h
    return torch.stack([states[t] for t in sorted(states)], dim)


def random_inputs(shape: tuple[int, ...], seed: int, channels_last: bool = False) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    z = torch.rand(shape, generator=random, dtype=torch.float64)
    c = torch.randn(shape, generator=random, dtype=torch.float64)
    if channels_last:
        z, c = (tensor.to(memory_format=torch.channels_last) for tensor in (z, c))
    return z.requires_grad_(), c.requires_grad_()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, top) for top in (3, 4, 7, 7))),
    dim=st.sampled_from([2, 3]),
    reverse=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_scan_equals_plain_steps(
    shape: tuple[int, ...], dim: int, reverse: bool, channels_last: bool, seed: int
) -> None:
    z, c = random_inputs(shape, seed, channels_last)
    expected = step_by_step(z, c, dim, reverse)
    states = scan(z, c, dim, reverse)
    torch.testing.assert_close(states, expected)
    upstream = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    found = torch.autograd.grad(states, (z, c), upstream)
    wanted = torch.autograd.grad(expected, (z, c), upstream)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dim", [2, 3])
def test_gradients_are_the_numerical_ones(dim: int, reverse: bool) -> None:
    inputs = random_inputs((2, 2, 4, 3), seed=0)
    assert torch.autograd.gradcheck(lambda z, c: scan(z, c, dim, reverse), inputs)


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_closed_and_open_gates(gate: float) -> None:
    """A closed gate keeps the start, 0; an open one takes the candidate."""
    _, c = random_inputs((1, 2, 5, 4), seed=0)
    torch.testing.assert_close(scan(torch.full_like(c, gate), c, 2), gate * c)


def test_inputs_are_left_as_they_are() -> None:
    z, c = random_inputs((2, 3, 4, 5), seed=0)
    before = z.detach().clone(), c.detach().clone()
    scan(z, c, 3).square().sum().backward()
    assert torch.equal(z, before[0])
    assert torch.equal(c, before[1])
