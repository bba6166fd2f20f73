"""The sweep by torch's own kernels, one per slice: any device, any floating dtype, at least float32 state.

Shapes: N expressions, C channels, H×W positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)  # a state of these would drift under small gates


def forward(z: Tensor, c: Tensor, dim: int, directions: Sequence[bool]) -> list[Tensor]:
    """Compute the states, (N, C, H, W) for each direction; the arguments are those of `scan.sweep`."""
    if z.dtype in HALF:
        return [state.to(z.dtype) for state in forward(z.float(), c.float(), dim, directions)]
    return [_states(z, c, dim, reverse) for reverse in directions]


def backward(
    z: Tensor, c: Tensor, gradients: Sequence[Tensor], dim: int, directions: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """Compute the gradients with respect to z and c.

    Args:
        z: gates, (N, C, H, W).
        c: candidates, (N, C, H, W).
        gradients: with respect to the states of each direction, (N, C, H, W) each.
        dim: 2 sweeps the rows, 3 the columns.
        directions: of the sweeps: false from first to last slice, true from last to first.

    Returns:
        Two tensors, (N, C, H, W) each.
    """
    if z.dtype in HALF:
        wide = [gradient.float() for gradient in gradients]
        z_gradient, c_gradient = backward(z.float(), c.float(), wide, dim, directions)
        return z_gradient.to(z.dtype), c_gradient.to(c.dtype)
    z_gradient, c_gradient = torch.zeros_like(z), torch.zeros_like(c)
    for gradient, reverse in zip(gradients, directions, strict=True):
        states = _states(z, c, dim, reverse)
        adjoint = torch.empty_like(z)
        keep, step = 1 - z, c.clone()
        g_slices, a_slices, d_slices, step_slices, h_slices = (
            _in_order(tensor, dim, reverse) for tensor in (gradient, keep, adjoint, step, states)
        )
        d = d_slices[-1].copy_(g_slices[-1])
        for t in range(len(d_slices) - 2, -1, -1):
            d = torch.addcmul(g_slices[t], a_slices[t + 1], d, out=d_slices[t])
        for step_t, h_before in zip(step_slices[1:], h_slices, strict=False):
            step_t -= h_before
        z_gradient += step.mul_(adjoint)
        c_gradient += adjoint.mul_(z)
    return z_gradient, c_gradient


def _states(z: Tensor, c: Tensor, dim: int, reverse: bool) -> Tensor:
    states = torch.empty_like(z)
    z_slices, c_slices, h_slices = (_in_order(tensor, dim, reverse) for tensor in (z, c, states))
    h = torch.zeros_like(z_slices[0])
    for z_t, c_t, h_t in zip(z_slices, c_slices, h_slices, strict=True):
        h = torch.lerp(h, c_t, z_t, out=h_t)
    return states


def _in_order(tensor: Tensor, dim: int, reverse: bool) -> tuple[Tensor, ...]:
    slices = tensor.unbind(dim)
    return slices[::-1] if reverse else slices
