"""The linear recurrence of the sweep, h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ c_t with h_0 = 0.

The gates depend on inputs only, so there is no matrix product inside the loop: a step is one
element-wise kernel, forward and backward, and autograd keeps no graph of small steps. The
backward pass is the same kind of recurrence, run the other way:

    D_t = g_t + (1 − z_{t+1}) ⊙ D_{t+1},   ∂c_t = z_t ⊙ D_t,   ∂z_t = (c_t − h_{t−1}) ⊙ D_t
"""

from typing import Any

import torch
from torch import Tensor


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, c: Tensor, dim: int, reverse: bool) -> Tensor:
        states = torch.empty_like(z)
        z_slices, c_slices, h_slices = (_in_order(tensor, dim, reverse) for tensor in (z, c, states))
        h = torch.zeros_like(z_slices[0])
        for z_t, c_t, h_t in zip(z_slices, c_slices, h_slices, strict=True):
            h = torch.lerp(h, c_t, z_t, out=h_t)
        ctx.save_for_backward(z, c, states)
        ctx.dim, ctx.reverse = dim, reverse
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        z, c, states = ctx.saved_tensors
        adjoint = torch.empty_like(z)
        keep = 1 - z
        g_slices, a_slices, d_slices, h_slices = (
            _in_order(tensor, ctx.dim, ctx.reverse) for tensor in (gradients[0], keep, adjoint, states)
        )
        d = d_slices[-1].copy_(g_slices[-1])
        for t in range(len(d_slices) - 2, -1, -1):
            d = torch.addcmul(g_slices[t], a_slices[t + 1], d, out=d_slices[t])
        # c_t − h_{t−1}, built in place of `keep`, which is no longer needed
        step = keep.copy_(c)
        for step_t, h_before in zip(_in_order(step, ctx.dim, ctx.reverse)[1:], h_slices, strict=False):
            step_t -= h_before
        return step.mul_(adjoint), adjoint.mul_(z), None, None


def _in_order(tensor: Tensor, dim: int, reverse: bool) -> tuple[Tensor, ...]:
    slices = tensor.unbind(dim)
    return slices[::-1] if reverse else slices


def scan(z: Tensor, c: Tensor, dim: int, reverse: bool = False) -> Tensor:
    """All states of the recurrence along `dim`, from first to last (last to first if `reverse`).

    Args:
        z: gates in [0, 1]; any shape.
        c: candidates, same shape.

    Returns: the states h, same shape.
    """
    return _Scan.apply(z, c, dim, reverse)
