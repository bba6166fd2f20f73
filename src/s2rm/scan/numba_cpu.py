"""The sweep on a CPU by numba: each value is read and written once, nothing is stored for backward.

A map is viewed as (outer, slices, inner), the inner values side by side in memory: channels-last maps
(N, H, W, C) are (N, H, W·C) for rows and (N·H, W, C) for columns. A task sweeps a block of inner values,
with all its slices, in each direction. The block stays in the core's own cache; so the second direction, and
the states that the backward pass computes again, cost no further access to memory.

Shapes: N expressions, C channels, H×W positions.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2rm.core.process import get_cores, use_cores

BLOCK = 256  # inner values; 60 slices of them in float32 are 60 kB per map

SMALLEST_SHARED = 65_536  # values of a map; below, a second thread costs more time than it saves

_compile = numba.njit(nogil=True, cache=True, fastmath={"contract"})


def forward(z: Tensor, c: Tensor, dim: int, directions: Sequence[bool]) -> list[Tensor]:
    """Compute the states, (N, C, H, W) for each direction, in channels-last memory; see `scan.sweep`."""
    z, c = _lay(z), _lay(c)
    states = [torch.empty_like(z) for _ in directions]
    maps = _as_slices(z, dim), _as_slices(c, dim), tuple(_as_slices(state, dim) for state in states)
    _in_threads(maps[0], partial(_forward, *maps, tuple(directions)))
    return states


def backward(
    z: Tensor, c: Tensor, gradients: Sequence[Tensor], dim: int, directions: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """Compute the gradients with respect to z and c, in channels-last memory; see `reference.backward`."""
    z, c = _lay(z), _lay(c)
    z_gradient, c_gradient = torch.empty_like(z), torch.empty_like(z)
    maps = [_as_slices(tensor, dim) for tensor in (z, c, z_gradient, c_gradient)]
    upstream = tuple(_as_slices(_lay(gradient), dim) for gradient in gradients)
    _in_threads(maps[0], partial(_backward, *maps, upstream, tuple(directions)))
    return z_gradient, c_gradient


@_compile
def _forward(z: Any, c: Any, states: Any, directions: Any, block: int, first: int, last: int) -> None:
    _, slices, inner = z.shape
    blocks = (inner + block - 1) // block
    state = np.empty(block, z.dtype)
    for task in range(first, last):
        line, start = task // blocks, task % blocks * block
        stop = min(start + block, inner)
        for k in range(len(directions)):
            state[:] = 0
            for step in range(slices):
                t = slices - 1 - step if directions[k] else step
                z_t, c_t, h_t = z[line, t, start:stop], c[line, t, start:stop], states[k][line, t, start:stop]
                for j in range(stop - start):
                    h = z_t[j] * c_t[j] + (1 - z_t[j]) * state[j]  # exact where a gate is 0 or 1
                    state[j] = h
                    h_t[j] = h


@_compile
def _backward(
    z: Any,
    c: Any,
    z_gradient: Any,
    c_gradient: Any,
    gradients: Any,
    directions: Any,
    block: int,
    first: int,
    last: int,
) -> None:
    _, slices, inner = z.shape
    blocks = (inner + block - 1) // block
    before = np.empty((slices, block), z.dtype)  # h_{t−1} of each slice in the order of the sweep
    before[0] = 0
    kept = np.empty(block, z.dtype)  # (1 − z_{t+1}) ⊙ D_{t+1}
    for task in range(first, last):
        line, start = task // blocks, task % blocks * block
        stop = min(start + block, inner)
        for k in range(len(directions)):
            for step in range(slices - 1):
                t = slices - 1 - step if directions[k] else step
                z_t, c_t = z[line, t, start:stop], c[line, t, start:stop]
                h, h_next = before[step], before[step + 1]
                for j in range(stop - start):
                    h_next[j] = z_t[j] * c_t[j] + (1 - z_t[j]) * h[j]
            kept[:] = 0
            for step in range(slices - 1, -1, -1):
                t = slices - 1 - step if directions[k] else step
                z_t, c_t, g_t = (
                    z[line, t, start:stop],
                    c[line, t, start:stop],
                    gradients[k][line, t, start:stop],
                )
                dz_t, dc_t = z_gradient[line, t, start:stop], c_gradient[line, t, start:stop]
                h = before[step]
                if k == 0:
                    for j in range(stop - start):
                        adjoint = kept[j] + g_t[j]
                        dz_t[j] = (c_t[j] - h[j]) * adjoint
                        dc_t[j] = z_t[j] * adjoint
                        kept[j] = adjoint - dc_t[j]
                else:
                    for j in range(stop - start):
                        adjoint = kept[j] + g_t[j]
                        dc = z_t[j] * adjoint
                        dz_t[j] += (c_t[j] - h[j]) * adjoint
                        dc_t[j] += dc
                        kept[j] = adjoint - dc


def _lay(x: Tensor) -> Tensor:
    """Return x dense and channels last, also where an axis has length 1 and torch accepts any stride."""
    return x.detach().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _as_slices(x: Tensor, dim: int) -> NDArray[Any]:
    """View a channels-last map (N, C, H, W) as (outer, slices, inner)."""
    count, channels, height, width = x.shape
    shape = (count, height, width * channels) if dim == 2 else (count * height, width, channels)
    return x.permute(0, 2, 3, 1).reshape(shape).numpy()


def _in_threads(view: NDArray[Any], kernel: Callable[[int, int, int], None]) -> None:
    """Run a kernel over all blocks of a map (outer, slices, inner), in as many threads as torch uses.

    A block is the same whichever thread sweeps it, so the number of threads changes no bit.
    """
    outer, _, inner = view.shape
    block = min(BLOCK, inner)
    tasks = outer * -(-inner // block)
    threads = min(torch.get_num_threads(), tasks) if view.size >= SMALLEST_SHARED else 1
    bounds = [tasks * i // threads for i in range(threads + 1)]
    shares = list(pairwise(bounds))
    others = [_pool(threads - 1).submit(kernel, block, *share) for share in shares[1:]]
    kernel(block, *shares[0])
    for other in others:
        other.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return plain threads: the kernels release Python's lock; numba's own threads need care after a fork."""
    return ThreadPoolExecutor(threads, "sweep", initializer=use_cores, initargs=(get_cores(),))
