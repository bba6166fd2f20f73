"""S²RM 2: spatial semantic recurrent coparsing [paper].

"Bundle features of each row and column from rotated features of one modality context to
recurrently correlate relevant semantic contained in feature from other modality context" [paper].
The *generator* context is swept slice by slice; the *parsed* context reads the state at its own
slice. With u = bundle(g), at slice t:

    z_t = σ(W_z [u_t; p_t])                          the gate sees both contexts
    h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ tanh(W_c u_t)  the state comes from the generator alone
    y_t = p_t ⊙ σ(W_o h_t) + W_h h_t                 the parsed semantic

The equations are ours; the paper's abstract gives the idea in words. With `fusion.state=match` the
state carries what correlates in the two contexts instead, m_t = φ(W_u u_t + W_p p_t): gate σ(W_z m_t),
candidate tanh(W_c m_t); another reading of "recurrently correlate". Both modalities play both
roles, and each sweep runs under the rotations 0°, 90°, 180°, 270° [paper], so that rows and columns
are read in both directions.

A rotation is never computed: sweeping the map rotated by k·90° (counter-clockwise, as
`torch.rot90`) slice by slice is sweeping the map itself along another axis or in the other direction,
and the result lies unrotated at once. The weights are shared by the rotations and the bundling
kernel is symmetric (both ours), so the projections are computed once an axis and the sweep is
exactly rotation-equivariant.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.fusion.sweeps import SWEEPS
from s2rm.model.layers import Pointwise, expand_to_expressions
from s2rm.model.scan import sweep


class Bundle(nn.Module):
    """A depthwise 1-D convolution along each slice with a symmetric kernel of `size`."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.zeros(width, 1, size))
        nn.init.normal_(self.weight, std=1 / math.sqrt(size))

    def forward(self, x: Tensor, sweep_dim: int) -> Tensor:
        """x: (B, C, H, W); rows are bundled along W (sweep_dim=2), columns along H (3)."""
        kernel = (self.weight + self.weight.flip(-1)) / 2
        rows = sweep_dim == 2
        return F.conv2d(
            x,
            kernel[:, :, None] if rows else kernel[..., None],
            padding=(0, self.size // 2) if rows else (self.size // 2, 0),
            groups=len(kernel),
        )


class Coparse(nn.Module):
    """One role: a generator context is swept, the other context is parsed by it."""

    def __init__(self, width: int, slice_kernel: int, recurrence: str, rotations: int, state: str) -> None:
        super().__init__()
        self.rotations = rotations
        self.bundle = Bundle(width, slice_kernel)
        self.recurrence = (
            ScanRecurrence(width, state) if recurrence == "scan" else GRURecurrence(width, state)
        )
        self.gate = Pointwise(width, width)  # W_o
        self.read = Pointwise(width, width)  # W_h

    def forward(
        self,
        generator: Tensor,
        parsed: Tensor,
        generator_index: Tensor | None = None,
        parsed_index: Tensor | None = None,
    ) -> list[Tensor]:
        """
        Args:
            generator, parsed: (N, C, H, W); or (B, C, H, W) with an index (N,) that says which of
                the B maps belongs to each of the N results, so that what depends on an image only
                is computed once an image.

        Returns: the parsed semantics, (N, C, H, W) each, one a rotation, laid back unrotated.
        """
        states: dict[int, Tensor] = {}
        for sweep_dim in (2, 3):
            sweeps = [k for k, (dim, _) in enumerate(SWEEPS[: self.rotations]) if dim == sweep_dim]
            if not sweeps:
                continue
            bundled = self.bundle(generator, sweep_dim)
            inputs = self.recurrence.project(bundled, parsed, generator_index, parsed_index)
            directions = [SWEEPS[k][1] for k in sweeps]
            states |= zip(sweeps, self.recurrence(inputs, sweep_dim, directions), strict=True)
        parsed = expand_to_expressions(parsed, parsed_index)
        semantics = []
        for k in range(self.rotations):
            gate = self.gate(states[k]).sigmoid()
            semantics.append(torch.addcmul(self.read(states[k]), parsed, gate))
        return semantics


class Match(nn.Module):
    """m = φ(W_u u + W_p p): what the generator and the parsed context have in common at a place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.generator = Pointwise(width, width)
        self.parsed = Pointwise(width, width, bias=False)

    def forward(
        self, bundled: Tensor, parsed: Tensor, generator_index: Tensor | None, parsed_index: Tensor | None
    ) -> Tensor:
        generator = expand_to_expressions(self.generator(bundled), generator_index)
        return (generator + expand_to_expressions(self.parsed(parsed), parsed_index)).relu()


class ScanRecurrence(nn.Module):
    """The gated linear recurrence above (`fusion.recurrence=scan`)."""

    def __init__(self, width: int, state: str) -> None:
        super().__init__()
        self.match = Match(width) if state == "match" else None
        self.gate = Pointwise(width, width)  # W_z, of the match or of the generator
        self.gate_parsed = None if self.match else Pointwise(width, width, bias=False)
        self.candidate = Pointwise(width, width)  # W_c
        # "Near and remote slice layers" [paper]: the channels start with memories of 1 to 32 slices.
        memory = torch.logspace(0, 5, width, base=2)
        with torch.no_grad():
            self.gate.bias.copy_(-torch.log(memory))

    def project(
        self, bundled: Tensor, parsed: Tensor, generator_index: Tensor | None, parsed_index: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The gates z and candidates c of all slices, (N, C, H, W) each."""
        if self.match is not None:
            match = self.match(bundled, parsed, generator_index, parsed_index)
            return self.gate(match).sigmoid(), self.candidate(match).tanh()
        assert self.gate_parsed is not None
        z = expand_to_expressions(self.gate(bundled), generator_index)
        z = z + expand_to_expressions(self.gate_parsed(parsed), parsed_index)
        c = expand_to_expressions(self.candidate(bundled).tanh(), generator_index)
        return z.sigmoid(), c

    def forward(self, inputs: tuple[Tensor, ...], dim: int, directions: Sequence[bool]) -> tuple[Tensor, ...]:
        """The states of all slices for each direction (true: last to first), (N, C, H, W) each."""
        z, c = inputs
        return sweep(z, c, dim, directions)


class GRURecurrence(nn.Module):
    """The sequential reading, a GRU over the slices (`fusion.recurrence=gru`), to compare with."""

    def __init__(self, width: int, state: str) -> None:
        super().__init__()
        self.match = Match(width) if state == "match" else None
        self.gru = nn.GRU(width if self.match else 2 * width, width)

    def project(
        self, bundled: Tensor, parsed: Tensor, generator_index: Tensor | None, parsed_index: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The match, (N, C, H, W), or [u; p], (N, 2C, H, W)."""
        if self.match is not None:
            return (self.match(bundled, parsed, generator_index, parsed_index),)
        generator = expand_to_expressions(bundled, generator_index)
        return (torch.cat([generator, expand_to_expressions(parsed, parsed_index)], dim=1),)

    def forward(self, inputs: tuple[Tensor, ...], dim: int, directions: Sequence[bool]) -> tuple[Tensor, ...]:
        """The states of all slices for each direction (true: last to first), (N, C, H, W) each."""
        x = inputs[0] if dim == 2 else inputs[0].transpose(2, 3)
        count, channels, length, breadth = x.shape
        steps = x.permute(2, 0, 3, 1).reshape(length, count * breadth, channels)
        maps = []
        for reverse in directions:
            states = self.gru(steps.flip(0) if reverse else steps)[0]
            states = states.flip(0) if reverse else states
            states = states.reshape(length, count, breadth, -1).permute(1, 3, 0, 2)
            maps.append(states if dim == 2 else states.transpose(2, 3))
        return tuple(maps)
