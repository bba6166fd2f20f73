"""The linear recurrence of the sweep, h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ c_t with h_0 = 0.

The gates depend on inputs only, so the loop contains no matrix product: the time of a sweep is the time to
read and write its maps. The backward pass is the same kind of recurrence, run the other way, with the
gradient g_t with respect to h_t:

    D_t = g_t + (1 − z_{t+1}) ⊙ D_{t+1},   ∂c_t = z_t ⊙ D_t,   ∂z_t = (c_t − h_{t−1}) ⊙ D_t

Two directions of one axis (rotations by 0° and 180°, or 90° and 270°) share gates and candidates, and are
swept together. A rotation is an axis and a direction, hence strides: no map is ever rotated.

    numba_cpu.py    numba on a CPU: float32 and float64, blocks of channels that stay in the cache
    triton_gpu.py   Triton on a GPU: float32, bfloat16 and float16 maps, float32 state
    reference.py    torch, one operation per slice: any device and dtype; the others are compared with it
    triton_probe.py whether Triton's kernels run on this machine; where they do not, the reference takes over

Each of them has the same two functions, `forward` and `backward`; none stores the states for the backward
pass, which computes them again. They are called as operators of torch, which torch.compile takes whole.

Shapes: N expressions, C channels, H×W positions.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from s2rm.scan import reference
from s2rm.scan.triton_probe import runs_triton


def sweep(z: Tensor, c: Tensor, dim: int, directions: Sequence[bool]) -> tuple[Tensor, ...]:
    """Compute the states of all slices along `dim`, once for each direction.

    Args:
        z: gates in [0, 1], (N, C, H, W).
        c: candidates, (N, C, H, W).
        dim: 2 sweeps the rows, 3 the columns.
        directions: one or two different ones: false from first to last slice, true from last to first.

    Returns:
        The states h, (N, C, H, W) for each direction.
    """
    return _Sweep.apply(z, c, dim, tuple(directions))


def implementation_for(z: Tensor) -> ModuleType:
    """Return the module of the fastest implementation for the device and dtype of `z`."""
    if z.device.type == "cpu" and z.dtype in (torch.float32, torch.float64):
        from s2rm.scan import numba_cpu

        return numba_cpu
    if (
        z.device.type == "cuda"
        and z.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and runs_triton()
    ):
        from s2rm.scan import triton_gpu

        return triton_gpu
    return reference


torch.library.define("s2rm::sweep", "(Tensor z, Tensor c, int dim, bool[] directions) -> Tensor[]")
torch.library.define(
    "s2rm::sweep_backward",
    "(Tensor z, Tensor c, Tensor[] gradients, int dim, bool[] directions) -> (Tensor, Tensor)",
)


@torch.library.impl("s2rm::sweep", "default")
def _forward(z: Tensor, c: Tensor, dim: int, directions: Sequence[bool]) -> list[Tensor]:
    return list(implementation_for(z).forward(z, c, dim, directions))


@torch.library.impl("s2rm::sweep_backward", "default")
def _backward(
    z: Tensor, c: Tensor, gradients: Sequence[Tensor], dim: int, directions: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    z_gradient, c_gradient = implementation_for(z).backward(z, c, gradients, dim, directions)
    return z_gradient, c_gradient


@torch.library.register_fake("s2rm::sweep")
def _(z: Tensor, c: Tensor, dim: int, directions: Sequence[bool]) -> list[Tensor]:
    return [torch.empty_like(z) for _ in directions]


@torch.library.register_fake("s2rm::sweep_backward")
def _(
    z: Tensor, c: Tensor, gradients: Sequence[Tensor], dim: int, directions: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(z), torch.empty_like(c)


class _Sweep(torch.autograd.Function):
    """The operators' gradient. As a part of the operators it made a training step on a CPU slower."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, c: Tensor, dim: int, directions: tuple[bool, ...]) -> tuple[Tensor, ...]:
        # The states are not saved: to compute them again costs less than to read them once more.
        ctx.save_for_backward(z, c)
        ctx.dim, ctx.directions = dim, directions
        return tuple(torch.ops.s2rm.sweep(z, c, dim, directions))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        z, c = ctx.saved_tensors
        return *torch.ops.s2rm.sweep_backward(z, c, gradients, ctx.dim, ctx.directions), None, None
