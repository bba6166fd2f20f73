"""Property 3: the recurrence, and the coparsing around it, equal a plain step-by-step reference."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from drawn import EVERY_RECURRENCE, build_coparse, groupings, kernels, seeds, sizes, values, widths
from hypothesis import given, settings
from hypothesis import strategies as st
from references import EXACT, coparse_plainly, scan_plainly
from torch import Tensor

from s2rm.scan import implementation_for, numba_cpu, reference, sweep

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every second value": lambda x: torch.stack([x, -x], dim=-1)[..., 0],
    "expanded": lambda x: x[:1].expand_as(x),
}
layouts = st.sampled_from(sorted(LAYOUTS))
dims, directions = st.sampled_from([2, 3]), st.booleans()


def gates(*shape: int, seed: int) -> Tensor:
    """In [0, 1], a quarter of them exactly 0 and a quarter exactly 1."""
    random = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(shape, generator=random, dtype=torch.float64) - 0.5).clamp(0, 1)


@pytest.mark.parametrize("implementation", [reference, numba_cpu])
@settings(max_examples=80)
@given(
    shape=st.tuples(*(st.integers(1, top) for top in (3, 4, 7, 7))),
    dim=dims,
    directions=st.sampled_from([(False,), (True,), (False, True), (True, False)]),
    laid=st.tuples(layouts, layouts, layouts),
    seed=seeds,
)
def test_the_scan_is_the_plain_recurrence(
    implementation: ModuleType,
    shape: tuple[int, ...],
    dim: int,
    directions: tuple[bool, ...],
    laid: tuple[str, str, str],
    seed: int,
) -> None:
    inputs = gates(*shape, seed=seed).requires_grad_(), values(*shape, seed=seed).requires_grad_()
    z, c = (LAYOUTS[layout](x) for layout, x in zip(laid, inputs, strict=False))
    upstream = [LAYOUTS[laid[2]](values(*shape, seed=seed + k)) for k in range(len(directions))]
    expected = [scan_plainly(z, c, dim, reverse) for reverse in directions]
    wanted = torch.autograd.grad(expected, (z, c), upstream)
    z, c = z.detach(), c.detach()
    torch.testing.assert_close(implementation.forward(z, c, dim, directions), expected, **EXACT)
    torch.testing.assert_close(implementation.backward(z, c, upstream, dim, directions), wanted, **EXACT)


def test_the_blocks_and_threads_of_the_cpu_join_without_a_seam() -> None:
    """Several blocks per line, the last one narrower: two and three threads give the same bits as one."""
    shape = 2, numba_cpu.BLOCK + 40, 9, 30
    z, c = gates(*shape, seed=0), values(*shape, seed=1)
    upstream = [values(*shape, seed=2), values(*shape, seed=3)]
    assert z.numel() >= numba_cpu.SMALLEST_SHARED
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(
            [
                *numba_cpu.forward(z, c, 3, (False, True)),
                *numba_cpu.backward(z, c, upstream, 3, (False, True)),
            ]
        )
    torch.set_num_threads(before)
    plain = [
        *reference.forward(z, c, 3, (False, True)),
        *reference.backward(z, c, upstream, 3, (False, True)),
    ]
    torch.testing.assert_close(results[0], plain, **EXACT)
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


def test_the_implementation_follows_device_and_dtype() -> None:
    assert implementation_for(torch.zeros(1)) is numba_cpu
    assert implementation_for(torch.zeros(1, dtype=torch.bfloat16)) is reference


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dim", [2, 3])
def test_the_scan_s_gradients_are_the_numerical_ones(dim: int, reverse: bool) -> None:
    inputs = gates(2, 2, 4, 3, seed=0).requires_grad_(), values(2, 2, 4, 3, seed=0).requires_grad_()
    assert torch.autograd.gradcheck(lambda z, c: sweep(z, c, dim, (reverse,)), inputs)


@given(gate=st.sampled_from([0.0, 1.0]), dim=dims, reverse=directions)
def test_a_closed_gate_keeps_the_start_and_an_open_one_takes_the_candidate(
    gate: float, dim: int, reverse: bool
) -> None:
    c = values(1, 2, 5, 4, seed=0)
    assert torch.equal(sweep(torch.full_like(c, gate), c, dim, (reverse,))[0], gate * c)


def test_the_scan_leaves_its_inputs_as_they_are() -> None:
    z, c = gates(2, 3, 4, 5, seed=0).requires_grad_(), values(2, 3, 4, 5, seed=0).requires_grad_()
    before = z.detach().clone(), c.detach().clone()
    sweep(z, c, 3, (False,))[0].square().sum().backward()
    assert torch.equal(z, before[0])
    assert torch.equal(c, before[1])


@EVERY_RECURRENCE
@settings(max_examples=25)
@given(
    size=sizes,
    width=widths,
    kernel=kernels,
    rotations=st.sampled_from([1, 2, 4]),
    grouping=groupings(2, 3),
    of_images=st.sampled_from(["generator", "parsed", "neither"]),
    layout=layouts,
    seed=seeds,
)
def test_the_coparsing_is_the_plain_sweep_of_the_rotated_contexts(
    recurrence: str,
    state: str,
    size: tuple[int, int],
    width: int,
    kernel: int,
    rotations: int,
    grouping: tuple[int, list[int]],
    of_images: str,
    layout: str,
    seed: int,
) -> None:
    """Outputs, and gradients by both contexts and every weight; one context may belong to the images."""
    coparse = build_coparse(width, kernel, recurrence, rotations, state, seed)
    images, owners = grouping
    index = torch.tensor(owners)
    counts = [images if of_images == role else len(owners) for role in ("generator", "parsed")]
    leaves = [values(n, width, *size, seed=seed + i).requires_grad_() for i, n in enumerate(counts)]
    contexts = [LAYOUTS[layout](leaf) for leaf in leaves]
    indices = {f"{of_images}_index": index} if of_images != "neither" else {}
    each = [
        context[index] if of_images == role else context
        for role, context in zip(("generator", "parsed"), contexts, strict=True)
    ]
    upstream = [values(len(owners), width, *size, seed=seed + k) for k in range(rotations)]
    differentiated = [*leaves, *coparse.parameters()]

    semantics, expected = coparse(*contexts, **indices), coparse_plainly(coparse, *each)
    torch.testing.assert_close(semantics, expected, **EXACT)
    found, wanted = (
        torch.autograd.grad(outputs, differentiated, upstream, retain_graph=True)
        for outputs in (semantics, expected)
    )
    torch.testing.assert_close(found, wanted, **EXACT)
