"""The recurrence and the coparsing written out step by step, for autograd to differentiate.

The formulas are those of the docstrings of scan and coparse.py, in the same order: maps are rotated, slices
are rows, and a loop goes through them. These functions share only the weights with the code that they check.

Shapes: N expressions, C channels, H×W positions.
"""

import torch
from torch import Tensor, nn

from s2rm.model.fusion.coparse import Bundle, Coparse, GRURecurrence, Match, ScanRecurrence

EXACT = {"rtol": 0.0, "atol": 1e-10}  # what float64 must hold, for outputs and gradients


def scan_plainly(z: Tensor, c: Tensor, dim: int, reverse: bool) -> Tensor:
    """Return the states of one sweep over gates z and candidates c, (N, C, H, W) each."""
    order = range(z.shape[dim])[:: -1 if reverse else 1]
    h, states = torch.zeros_like(z.select(dim, 0)), {}
    for t in order:
        z_t, c_t = z.select(dim, t), c.select(dim, t)
        h = (1 - z_t) * h + z_t * c_t
        states[t] = h
    return torch.stack([states[t] for t in sorted(states)], dim)


def coparse_plainly(coparse: Coparse, generator: Tensor, parsed: Tensor) -> list[Tensor]:
    """Return the parsed semantics in the orientation of the contexts, (N, C, H, W) each."""
    semantics = []
    for k in range(coparse.rotations):
        rotated = sweep_rows(coparse, torch.rot90(generator, k, (2, 3)), torch.rot90(parsed, k, (2, 3)))
        semantics.append(torch.rot90(rotated, -k, (2, 3)))
    return semantics


def sweep_rows(coparse: Coparse, generator: Tensor, parsed: Tensor) -> Tensor:
    """Return the parsed semantic of a sweep from the first row to the last, (N, C, H, W)."""
    h, semantic = torch.zeros_like(parsed[:, :, 0]), []
    for t in range(generator.shape[2]):
        u, p = bundle(coparse.bundle, generator[:, :, t]), parsed[:, :, t]
        h = STEPS[type(coparse.recurrence)](coparse.recurrence, h, u, p)
        semantic.append(p * pointwise(coparse.gate, h).sigmoid() + pointwise(coparse.read, h))
    return torch.stack(semantic, 2)


def bundle(layer: Bundle, row: Tensor) -> Tensor:
    """Convolve a row, (N, C, W); the taps to the left and to the right of a position are the same."""
    taps, reach, breadth = layer.weight[:, 0], layer.size // 2, row.shape[-1]
    bundled = torch.zeros_like(row)
    for column in range(breadth):
        for offset in range(-reach, reach + 1):
            if 0 <= column + offset < breadth:
                tap = (taps[:, reach + offset] + taps[:, reach - offset]) / 2
                position = torch.zeros(breadth, dtype=row.dtype)
                position[column] = 1
                bundled = bundled + (tap * row[:, :, column + offset])[..., None] * position
    return bundled


def pointwise(layer: nn.Linear, row: Tensor) -> Tensor:
    """Map a row, (N, C, W), to (N, C', W)."""
    y = torch.einsum("oc,ncw->now", layer.weight, row)
    return y if layer.bias is None else y + layer.bias[:, None]


def match(layers: Match, u: Tensor, p: Tensor) -> Tensor:
    """Return m of a row, (N, C, W)."""
    return (pointwise(layers.generator, u) + pointwise(layers.parsed, p)).clamp_min(0)


def scan_step(layers: ScanRecurrence, h: Tensor, u: Tensor, p: Tensor) -> Tensor:
    """Return the state after a row of the scan, (N, C, W)."""
    if layers.match is None:
        z, c = pointwise(layers.gate, u) + pointwise(layers.gate_parsed, p), pointwise(layers.candidate, u)
    else:
        m = match(layers.match, u, p)
        z, c = pointwise(layers.gate, m), pointwise(layers.candidate, m)
    return (1 - z.sigmoid()) * h + z.sigmoid() * c.tanh()


def gru_step(layers: GRURecurrence, h: Tensor, u: Tensor, p: Tensor) -> Tensor:
    """Return the state after a row of the GRU (Cho et al., EMNLP 2014, in the form of torch.nn.GRU)."""
    gru = layers.gru
    x = torch.cat([u, p], 1) if layers.match is None else match(layers.match, u, p)
    by_input = torch.einsum("oc,ncw->now", gru.weight_ih_l0, x) + gru.bias_ih_l0[:, None]
    by_state = torch.einsum("oc,ncw->now", gru.weight_hh_l0, h) + gru.bias_hh_l0[:, None]
    (r_x, z_x, n_x), (r_h, z_h, n_h) = by_input.chunk(3, 1), by_state.chunk(3, 1)
    r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
    return (1 - z) * (n_x + r * n_h).tanh() + z * h


STEPS = {ScanRecurrence: scan_step, GRURecurrence: gru_step}
