"""The sweep on a GPU by Triton: float32, bfloat16 or float16 maps by their strides, float32 state.

A line is what one sweep runs along: all slices at one expression, channel and position in the slice. A
program sweeps a block of lines from end to end and keeps their states in registers. Lines that are adjacent
in a block are adjacent in z's memory: channels of channels-last maps, positions of contiguous maps swept
over the rows. In contiguous maps swept over the columns, memory runs along the lines instead; there the
values of a chunk are adjacent, and the first-level cache has to combine the reads of a thread.

Memory traffic per map element, for both directions of an axis: forward reads z and c once per direction (the
second time from the second-level cache, as long as the blocks in progress fit into it) and writes two states.
Backward reads z, c and one gradient, then z, c and both gradients, and writes two; in addition, two float32
values per chunk are written and read again. Each value is written once, by one program: there are no
atomics, and each run gives the same bits.

Shapes: N expressions, C channels, H×W positions.
"""

# Triton interprets the annotations of a kernel, and its tuples can only be extended by +:
# mypy: allow-untyped-defs, disable-error-code="assignment"
# ruff: noqa: RUF005

from collections.abc import Callable, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 128  # lines per program, one per thread
CHUNK = 8  # slices whose loads are issued together, to hide the latency of memory


def forward(z: Tensor, c: Tensor, dim: int, directions: Sequence[bool]) -> list[Tensor]:
    """Compute the states, (N, C, H, W) for each direction, laid out as z; see `scan.sweep`."""
    states = [torch.empty_like(z) for _ in directions]
    sizes, strides = _lines(z, dim)
    with torch.cuda.device_of(z):
        _forward[(triton.cdiv(sizes[0], BLOCK) * len(directions),)](
            *(z, *strides(z), c, *strides(c), states[0], states[-1], *strides(states[0])),
            *(len(directions), int(directions[0]), int(directions[-1]), *sizes),
            chunk=CHUNK,
            block=BLOCK,
            enable_fp_fusion=True,
        )
    return states


def backward(
    z: Tensor, c: Tensor, gradients: Sequence[Tensor], dim: int, directions: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """Compute the gradients with respect to z and c, laid out as z; see `reference.backward`."""
    by_direction = dict(zip(directions, gradients, strict=True))
    assert len(by_direction) == len(directions)
    zero = z.new_zeros(()).expand(z.shape)  # for a direction that was not swept; stride 0, so no traffic
    up, down = by_direction.get(False, zero), by_direction.get(True, zero)
    z_gradient, c_gradient = torch.empty_like(z), torch.empty_like(z, dtype=c.dtype)
    sizes, strides = _lines(z, dim)
    chunks = triton.cdiv(z.shape[dim], CHUNK)
    kept = torch.empty((chunks, 2, sizes[0]), dtype=torch.float32, device=z.device)
    with torch.cuda.device_of(z):
        _backward[(triton.cdiv(sizes[0], BLOCK),)](
            *(z, *strides(z), c, *strides(c), up, *strides(up), down, *strides(down)),
            *(z_gradient, c_gradient, *strides(z_gradient), kept, chunks, *sizes),
            chunk=CHUNK,
            block=BLOCK,
            enable_fp_fusion=True,
        )
    return z_gradient, c_gradient


def _lines(z: Tensor, dim: int) -> tuple[tuple[int, ...], Callable[[Tensor], tuple[int, ...]]]:
    """Number the lines: along `inner`, the axis that is denser in z's memory, then `outer`, then expressions.

    Returns:
        The sizes (lines, outer, inner, slices), and a function from a map to its strides (expression, outer,
        inner, slice).
    """
    other = 5 - dim
    outer, inner = (1, other) if z.stride(other) < z.stride(1) else (other, 1)
    lines = z.shape[0] * z.shape[outer] * z.shape[inner]
    assert lines < 2**31  # the kernels count lines in int32; a map may hold more values
    sizes = (lines, z.shape[outer], z.shape[inner], z.shape[dim])
    return sizes, lambda x: tuple(x.stride(axis) for axis in (0, outer, inner, dim))


# fmt: off
@triton.jit
def _forward(
    z, z_image, z_outer, z_inner, z_slice,
    c, c_image, c_outer, c_inner, c_slice,
    first, second, h_image, h_outer, h_inner, h_slice,
    directions, first_reversed, second_reversed,
    lines, outers, inners, slices,
    chunk: tl.constexpr, block: tl.constexpr,
):
    # fmt: on
    # Programs start in order, so a block's directions run together and share the cache.
    program = tl.program_id(0)
    is_first = program % directions == 0
    line = program // directions * block + tl.arange(0, block)
    states = first if is_first else second
    z = _at(z, z_image, z_outer, z_inner, line, outers, inners)
    c = _at(c, c_image, c_outer, c_inner, line, outers, inners)
    states = _at(states, h_image, h_outer, h_inner, line, outers, inners)

    # A reversed sweep starts at the last slice, and all its strides are negative.
    is_reversed = tl.cast(tl.where(is_first, first_reversed, second_reversed), tl.int64)
    start, step = is_reversed * (slices - 1), 1 - 2 * is_reversed
    z, z_slice = z + start * z_slice, step * z_slice
    c, c_slice = c + start * c_slice, step * c_slice
    states, h_slice = states + start * h_slice, step * h_slice

    left = tl.where(line < lines, slices, 0)  # of each line
    h = tl.zeros((block,), tl.float32)
    for _ in range(0, slices, chunk):
        z_chunk = _load(z, z_slice, left, chunk)
        c_chunk = _load(c, c_slice, left, chunk)
        for k in tl.static_range(chunk):
            h = z_chunk[k] * c_chunk[k] + (1 - z_chunk[k]) * h
            tl.store(states + k * h_slice, h, k < left)
        z += chunk * z_slice
        c += chunk * c_slice
        states += chunk * h_slice
        left -= chunk


# fmt: off
@triton.jit
def _backward(
    z, z_image, z_outer, z_inner, z_slice,
    c, c_image, c_outer, c_inner, c_slice,
    up, up_image, up_outer, up_inner, up_slice,
    down, down_image, down_outer, down_inner, down_slice,
    dz, dc, d_image, d_outer, d_inner, d_slice,
    kept, chunks,
    lines, outers, inners, slices,
    chunk: tl.constexpr, block: tl.constexpr,
):
    """Write the gradients dz and dc, given those with respect to the states of two sweeps.

    `up` belongs to the sweep from first to last slice, `down` to the sweep from last to first. The state h of
    a sweep runs with it, and its gradient against it; e is the part of the gradient that a slice receives
    from the next slice of the sweep. So h of up and e of down run upwards: a first pass stores them as they
    enter each chunk. The second pass takes the chunks downwards with h of down and e of up, and recomputes in
    each chunk what runs upwards; so it has all four at every slice.
    """
    # fmt: on
    line = tl.program_id(0) * block + tl.arange(0, block)
    z = _at(z, z_image, z_outer, z_inner, line, outers, inners)
    c = _at(c, c_image, c_outer, c_inner, line, outers, inners)
    up = _at(up, up_image, up_outer, up_inner, line, outers, inners)
    down = _at(down, down_image, down_outer, down_inner, line, outers, inners)
    dz = _at(dz, d_image, d_outer, d_inner, line, outers, inners)
    dc = _at(dc, d_image, d_outer, d_inner, line, outers, inners)
    kept += line
    z_slice = tl.cast(z_slice, tl.int64)
    c_slice = tl.cast(c_slice, tl.int64)
    up_slice = tl.cast(up_slice, tl.int64)
    down_slice = tl.cast(down_slice, tl.int64)
    d_slice = tl.cast(d_slice, tl.int64)
    kept_chunk = 2 * tl.cast(lines, tl.int64)

    inside = line < lines
    left = tl.where(inside, slices, 0)  # of each line
    h_up = tl.zeros((block,), tl.float32)
    e_down = tl.zeros((block,), tl.float32)
    for _ in range(chunks - 1):
        z_chunk = _load(z, z_slice, left, chunk)
        c_chunk = _load(c, c_slice, left, chunk)
        down_chunk = _load(down, down_slice, left, chunk)
        tl.store(kept, h_up, inside)
        tl.store(kept + lines, e_down, inside)
        for k in tl.static_range(chunk):
            h_up, e_down, _ = _step(z_chunk[k], c_chunk[k], down_chunk[k], h_up, e_down)
        z += chunk * z_slice
        c += chunk * c_slice
        down += chunk * down_slice
        kept += kept_chunk
        left -= chunk

    tl.debug_barrier()  # a thread may read what another one stored
    up += (chunks - 1) * chunk * up_slice
    dz += (chunks - 1) * chunk * d_slice
    dc += (chunks - 1) * chunk * d_slice
    h_down = tl.zeros((block,), tl.float32)
    e_up = tl.zeros((block,), tl.float32)
    for done in range(chunks):
        if done > 0:
            kept -= kept_chunk
            h_up = tl.load(kept, inside, other=0)
            e_down = tl.load(kept + lines, inside, other=0)
        z_chunk = _load(z, z_slice, left, chunk)
        c_chunk = _load(c, c_slice, left, chunk)
        up_chunk = _load(up, up_slice, left, chunk)
        down_chunk = _load(down, down_slice, left, chunk)
        h_before, d_down = (), ()
        for k in tl.static_range(chunk):
            h_before = h_before + (h_up,)
            h_up, e_down, d = _step(z_chunk[k], c_chunk[k], down_chunk[k], h_up, e_down)
            d_down = d_down + (d,)
        for k in tl.static_range(chunk - 1, -1, -1):
            h = h_down
            h_down, e_up, d_up = _step(z_chunk[k], c_chunk[k], up_chunk[k], h_down, e_up)
            z_gradient = (c_chunk[k] - h_before[k]) * d_up + (c_chunk[k] - h) * d_down[k]
            c_gradient = z_chunk[k] * (d_up + d_down[k])
            tl.store(dz + k * d_slice, z_gradient, k < left)
            tl.store(dc + k * d_slice, c_gradient, k < left)
        z -= chunk * z_slice
        c -= chunk * c_slice
        up -= chunk * up_slice
        down -= chunk * down_slice
        dz -= chunk * d_slice
        dc -= chunk * d_slice
        left += chunk


@triton.jit
def _step(z, c, g, h, e):
    """Return the state after h, the part of the gradient D = g + e that the slice passes on, and D."""
    d = g + e
    return z * c + (1 - z) * h, (1 - z) * d, d


@triton.jit
def _at(pointer, by_image, by_outer, by_inner, line, outers, inners):
    """Return pointers to the first slice of lines; in int64, as maps may have more than 2^31 values."""
    image, outer, inner = line // inners // outers, line // inners % outers, line % inners
    image, outer, inner = tl.cast(image, tl.int64), tl.cast(outer, tl.int64), tl.cast(inner, tl.int64)
    return pointer + image * by_image + outer * by_outer + inner * by_inner


@triton.jit
def _load(slices, by_slice, left, chunk: tl.constexpr):
    """Load a chunk in float32; after the slices `left` zeros, which leave states and gradients unchanged."""
    values = ()
    for k in tl.static_range(chunk):
        value = tl.load(slices + k * by_slice, k < left, other=0)
        values = values + (value.to(tl.float32),)
    return values
