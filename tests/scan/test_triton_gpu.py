"""The GPU's sweep against the loop: on a GPU where there is one, else under Triton's interpreter.

conftest.py asks Triton for its interpreter (TRITON_INTERPRET=1), before anything imports it.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from s2rm.scan import reference

pytest.importorskip("triton", reason="Triton is not installed: it comes with torch on Linux only")

from s2rm.scan import triton_gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DIRECTIONS = ((False,), (True,), (False, True), (True, False))
BOTH = (False, True)

Shape = tuple[int, int, int, int]  # (N, C, H, W)
LAYOUTS: dict[str, Callable[[Shape], Tensor]] = {
    "contiguous": lambda shape: _uniform(shape),
    "channels last": lambda shape: _uniform(shape).to(memory_format=torch.channels_last),
    "transposed": lambda shape: _uniform((*shape[:2], shape[3], shape[2])).transpose(2, 3),
    "part of a larger map": lambda shape: _uniform((shape[0], 2 * shape[1], shape[2] + 1, shape[3]))[
        :, ::2, 1:
    ],
    "one image's for all": lambda shape: _uniform((1, *shape[1:])).expand(shape),
    "one channel for all": lambda shape: _uniform((shape[0], 1, *shape[2:])).expand(shape),
    "one slice for all": lambda shape: _uniform((*shape[:3], 1)).expand(shape),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_is_swept_in_any_direction(layout: str, dim: int, directions: Sequence[bool]) -> None:
    shape = (2, 4, 10, 19) if dim == 3 else (2, 4, 19, 10)  # 80 lines of 2 chunks and 3 slices
    z, c = LAYOUTS[layout](shape), LAYOUTS[layout](shape) - 0.5
    _check(z, c, [LAYOUTS[layout](shape) - 0.5 for _ in directions], dim, directions)


@pytest.mark.parametrize("dim", [2, 3])
def test_maps_of_one_sweep_need_not_be_laid_out_alike(dim: int) -> None:
    shape = (2, 3, 9, 10)
    z, c, up, down = (
        LAYOUTS[layout](shape)
        for layout in ("channels last", "one image's for all", "contiguous", "transposed")
    )
    _check(z, c, [up, down], dim, BOTH)
    _check(c, z, [torch.ones((), device=DEVICE).expand(shape), up], dim, BOTH)


@pytest.mark.parametrize(
    "slices", [1, 2, triton_gpu.CHUNK - 1, triton_gpu.CHUNK, triton_gpu.CHUNK + 1, 2 * triton_gpu.CHUNK, 37]
)
@pytest.mark.parametrize("dim", [2, 3])
def test_any_number_of_slices(slices: int, dim: int) -> None:
    shape = (1, 2, slices, 3) if dim == 2 else (1, 2, 3, slices)
    _check(_uniform(shape), _uniform(shape) - 0.5, [_uniform(shape), _uniform(shape)], dim, BOTH)


@pytest.mark.parametrize(
    "lines", [1, triton_gpu.BLOCK - 1, triton_gpu.BLOCK, triton_gpu.BLOCK + 1, 3 * triton_gpu.BLOCK - 5]
)
@pytest.mark.parametrize("directions", DIRECTIONS)
def test_any_number_of_lines(lines: int, directions: Sequence[bool]) -> None:
    shape = (1, lines, 3, 1)
    _check(_uniform(shape), _uniform(shape) - 0.5, [_uniform(shape) for _ in directions], 2, directions)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dim", [2, 3])
def test_half_precision_rounds_maps_but_no_state(dtype: torch.dtype, dim: int) -> None:
    shape = (1, 4, 40, 5) if dim == 2 else (1, 4, 5, 40)
    z, c, up, down = (_uniform(shape).to(dtype, memory_format=torch.channels_last) for _ in range(4))
    _check(0.05 * z, c, [up, down], dim, BOTH)  # gates so small that a rounded state would drift


def test_gates_of_zero_and_one_keep_and_take_exactly() -> None:
    c = _uniform((1, 3, 11, 5)) - 0.5
    z = (torch.arange(11, device=DEVICE) % 4 == 1).float()[:, None].expand(c.shape)
    first, last = triton_gpu.forward(z, c, 2, BOTH)
    assert not first[:, :, :1].any()
    assert not last[:, :, 10:].any()
    for t in range(1, 11):
        assert torch.equal(first[:, :, t], c[:, :, t - (t - 1) % 4])
    for t in range(10):
        assert torch.equal(last[:, :, t], c[:, :, t + (1 - t) % 4])


def test_a_repeated_sweep_gives_the_same_bits() -> None:
    shape = (2, 20, 9, 9)
    z, c, up, down = (_uniform(shape) for _ in range(4))
    runs = [
        (*triton_gpu.forward(z, c, 3, BOTH), *triton_gpu.backward(z, c, [up, down], 3, BOTH))
        for _ in range(2)
    ]
    assert all(map(torch.equal, *runs))


def test_lines_of_a_block_are_adjacent_in_memory() -> None:
    rows = LAYOUTS["contiguous"]((2, 3, 4, 5))
    channels_last = rows.to(memory_format=torch.channels_last)
    for z, dim in ((rows, 2), (rows.transpose(2, 3), 3), (channels_last, 2), (channels_last, 3)):
        (lines, _, inner, slices), strides = triton_gpu._lines(z, dim)
        assert lines * slices == z.numel()
        assert strides(z)[2] == 1
        assert inner == z.shape[z.stride().index(1)]


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("far_axis", range(4))
def test_offsets_beyond_int32(far_axis: int, dim: int) -> None:
    memory = torch.empty(2**31 + 1000, dtype=torch.bfloat16, device=DEVICE)  # a CPU gives touched pages only
    shape, strides = [4, 4, 4, 4], [64, 16, 4, 1]
    shape[far_axis], strides[far_axis] = 3, 2**30  # the third lies 2^31 values away from the first
    z, c = (memory.as_strided(shape, strides, offset) for offset in (0, 300))
    z.uniform_()
    c.uniform_()
    _check(z, c, [c, z], dim, BOTH)


def _uniform(shape: Shape) -> Tensor:
    return torch.rand(shape, device=DEVICE)


def _check(z: Tensor, c: Tensor, gradients: list[Tensor], dim: int, directions: Sequence[bool]) -> None:
    """The states and gradients are the loop's in float32, dense, of the maps' dtype and z's layout."""
    actual = (
        *triton_gpu.forward(z, c, dim, directions),
        *triton_gpu.backward(z, c, gradients, dim, directions),
    )
    exact = z.float(), c.float(), [gradient.float() for gradient in gradients]
    expected = (*reference.forward(*exact[:2], dim, directions), *reference.backward(*exact, dim, directions))
    # To the half of eps on a GPU; Triton's interpreter does not round to the nearest bfloat16, but down.
    relative = 1e-5 if z.dtype == torch.float32 else torch.finfo(z.dtype).eps
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == z.dtype
        assert a.stride() == torch.empty_like(z).stride()
        assert a.untyped_storage().nbytes() == z.numel() * z.element_size()
        torch.testing.assert_close(a.float(), e, rtol=relative, atol=1e-5)
