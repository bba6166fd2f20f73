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
candidate tanh(W_c m_t); this is another reading of "recurrently correlate" [ours]. Both modalities play
both roles, and each sweep runs under the rotations 0°, 90°, 180°, 270° [paper], so that rows and columns
are read in both directions.

A rotation is never computed: sweeping the map rotated by k·90° (counter-clockwise, as
`torch.rot90`) slice by slice is sweeping the map itself along another axis or in the other direction,
and the result needs no rotation back. The weights are shared by the rotations and the bundling
kernel is symmetric [both ours], so the projections are computed once per axis and the sweep is
exactly rotation-equivariant.

Shapes: B images, N expressions, C channels, H×W positions.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.fusion.sweeps import SWEEPS
from s2rm.model.layers import Pointwise, expand_to_expressions, multiply_add
from s2rm.scan import sweep


class Bundle(nn.Module):
    """A depthwise 1-D convolution along each slice, with a symmetric kernel."""

    def __init__(self, width: int, size: int) -> None:
        """Build the convolution.

        Args:
            width: channels C.
            size: of the kernel, in positions; odd.
        """
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.zeros(width, 1, size))
        nn.init.normal_(self.weight, std=1 / math.sqrt(size))

    def forward(self, x: Tensor, sweep_dim: int) -> Tensor:
        """Bundle each position with those around it in its slice.

        Args:
            x: (B, C, H, W).
            sweep_dim: 2 where rows are swept, which are bundled along W; 3 for columns, bundled along H.

        Returns:
            u, (B, C, H, W).
        """
        kernel = (self.weight + self.weight.flip(-1)) / 2
        rows = sweep_dim == 2
        return F.conv2d(
            x,
            kernel[:, :, None] if rows else kernel[..., None],
            padding=(0, self.size // 2) if rows else (self.size // 2, 0),
            groups=len(kernel),
        )


class Coparse(nn.Module):
    """Play one role: the generator context is swept, and the other context is parsed by its states."""

    def __init__(self, width: int, slice_kernel: int, recurrence: str, rotations: int, state: str) -> None:
        """Build the role; the arguments are the parameters of `s2rm.config.network.Fusion`.

        Args:
            width: channels C.
            slice_kernel: size of the bundling kernel, in positions.
            recurrence: "scan" or "gru".
            rotations: number of sweeps: 4, 2 or 1.
            state: "generator" or "match".
        """
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
        """Parse one context by sweeps over the other.

        A context belongs either to the expressions, (N, C, H, W), or to the images, (B, C, H, W). In the
        second case its index names the map of each expression, so that what depends on the image alone is
        computed once per image.

        Args:
            generator: the swept context, (N, C, H, W) or (B, C, H, W).
            parsed: the parsed context, (N, C, H, W) or (B, C, H, W).
            generator_index: (N,), in 0..B−1, where the generator belongs to the images.
            parsed_index: (N,), in 0..B−1, where the parsed context belongs to the images.

        Returns:
            The parsed semantics, one per rotation, (N, C, H, W) each, in the orientation of the contexts.
        """
        states: dict[int, Tensor] = {}
        for sweep_dim in (2, 3):
            sweeps = [k for k, (dim, _) in enumerate(SWEEPS[: self.rotations]) if dim == sweep_dim]
            if not sweeps:
                continue
            bundled = self.bundle(generator, sweep_dim)  # u, of the generator's shape
            # What the recurrence reads, (N, C, H, W) each; the two directions of an axis share it.
            inputs = self.recurrence.project(bundled, parsed, generator_index, parsed_index)
            directions = [SWEEPS[k][1] for k in sweeps]
            # h, (N, C, H, W) for each direction
            states |= zip(sweeps, self.recurrence(inputs, sweep_dim, directions), strict=True)
        parsed = expand_to_expressions(parsed, parsed_index)  # p, (N, C, H, W)
        semantics = []
        for k in range(self.rotations):
            gate = self.gate(states[k]).sigmoid()
            semantics.append(multiply_add(self.read(states[k]), parsed, gate))  # y, (N, C, H, W)
        return semantics


class Match(nn.Module):
    """What the generator and the parsed context have in common at a position: m = φ(W_u u + W_p p)."""

    def __init__(self, width: int) -> None:
        """Build the projections for C = `width` channels."""
        super().__init__()
        self.generator = Pointwise(width, width)
        self.parsed = Pointwise(width, width, bias=False)

    def forward(
        self, bundled: Tensor, parsed: Tensor, generator_index: Tensor | None, parsed_index: Tensor | None
    ) -> Tensor:
        """Match a bundled generator with a parsed context; shapes as for `Coparse.forward`.

        Returns:
            m, (N, C, H, W).
        """
        generator = expand_to_expressions(self.generator(bundled), generator_index)
        return (generator + expand_to_expressions(self.parsed(parsed), parsed_index)).relu()


class ScanRecurrence(nn.Module):
    """The gated linear recurrence above (`fusion.recurrence=scan`)."""

    def __init__(self, width: int, state: str) -> None:
        """Build the gates and candidates for C = `width` channels; `state` is "generator" or "match"."""
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
        """Compute the gates z and candidates c of all slices, (N, C, H, W) each; see `Coparse.forward`."""
        if self.match is not None:
            match = self.match(bundled, parsed, generator_index, parsed_index)
            return self.gate(match).sigmoid(), self.candidate(match).tanh()
        assert self.gate_parsed is not None
        z = expand_to_expressions(self.gate(bundled), generator_index)
        z = z + expand_to_expressions(self.gate_parsed(parsed), parsed_index)
        c = expand_to_expressions(self.candidate(bundled).tanh(), generator_index)
        return z.sigmoid(), c

    def forward(self, inputs: tuple[Tensor, ...], dim: int, directions: Sequence[bool]) -> tuple[Tensor, ...]:
        """Sweep along `dim`: the states of all slices, (N, C, H, W) for each direction.

        Args:
            inputs: as `project` returned them.
            dim: 2 sweeps the rows, 3 the columns.
            directions: false from first to last slice, true from last to first.
        """
        z, c = inputs
        return sweep(z, c, dim, directions)


class GRURecurrence(nn.Module):
    """The sequential reading, a GRU over the slices (`fusion.recurrence=gru`), to compare with."""

    def __init__(self, width: int, state: str) -> None:
        """Build the GRU for C = `width` channels; `state` is "generator" or "match"."""
        super().__init__()
        self.match = Match(width) if state == "match" else None
        self.gru = nn.GRU(width if self.match else 2 * width, width)

    def project(
        self, bundled: Tensor, parsed: Tensor, generator_index: Tensor | None, parsed_index: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Compute the GRU's inputs, (N, C, H, W) of the match or (N, 2C, H, W) of [u; p]."""
        if self.match is not None:
            return (self.match(bundled, parsed, generator_index, parsed_index),)
        generator = expand_to_expressions(bundled, generator_index)
        return (torch.cat([generator, expand_to_expressions(parsed, parsed_index)], dim=1),)

    def forward(self, inputs: tuple[Tensor, ...], dim: int, directions: Sequence[bool]) -> tuple[Tensor, ...]:
        """Sweep along `dim`: the states of all slices, (N, C, H, W) for each direction.

        Args:
            inputs: as `project` returned them.
            dim: 2 sweeps the rows, 3 the columns.
            directions: false from first to last slice, true from last to first.
        """
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
