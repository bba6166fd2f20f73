"""What happens inside a forward pass: affinities of words, update gates, weights and shares of semantics.

Forward hooks read these values while the pass runs. So they are the values that applied, and the code of the
model needs nothing for it.

Shapes: N expressions, T tokens, C channels, H×W positions, K parsed semantics.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from s2rm.model.fusion.balance import Balance
from s2rm.model.fusion.coparse import SWEEPS, Coparse, ScanRecurrence
from s2rm.model.fusion.distribute import DistributeByAttention
from s2rm.model.fusion.s2rm_fusion import S2RMFusion
from s2rm.model.s2rm import S2RM

Place = tuple[str, int]
"""A sweep of a stage: its role (a key of `S2RMFusion.coparse`) and rotation (an index into `SWEEPS`)."""


@dataclass
class StageInsight:
    """What one stage did for the N expressions of the latest forward pass."""

    places: list[Place]
    """The sweep of each of the K parsed semantics, in their order."""
    gates: dict[Place, Tensor] = field(default_factory=dict)
    """The gates z of each sweep, (N, C, H, W), as it applied them; empty for `fusion.recurrence=gru`."""
    weights: Tensor = field(init=False)
    """(N, K, C), which sums to 1 over the K."""
    shares: Tensor = field(init=False)
    """(N, K, H, W); see `attribute_shares`."""


def balanced_stages(model: S2RM) -> dict[int, S2RMFusion]:
    """Return the fusions that balance parsed semantics by weights, by stage (1 to 4).

    Some switches leave none; `Fusion.why_no_weights` names them.
    """
    return {
        stage: fusion
        for stage, fusion in enumerate(model.fusion, start=1)
        if isinstance(fusion, S2RMFusion) and fusion.coparse and isinstance(fusion.balance, Balance)
    }


def attentive_stages(model: S2RM) -> dict[int, DistributeByAttention]:
    """Return the attentions that distribute the words, by stage (1 to 4).

    Some switches leave none; `Fusion.why_no_words` names them.
    """
    return {
        stage: module
        for stage, fusion in enumerate(model.fusion, start=1)
        for module in fusion.modules()
        if isinstance(module, DistributeByAttention)
    }


def places_of(fusion: S2RMFusion) -> list[Place]:
    """Return role and rotation of each of the K parsed semantics, in their order."""
    return [(role, k) for role, coparse in _roles(fusion).items() for k in range(coparse.rotations)]


def _roles(fusion: S2RMFusion) -> dict[str, Coparse]:
    return cast("dict[str, Coparse]", dict(fusion.coparse.items()))


@contextmanager
def watch_weights(model: S2RM) -> Iterator[dict[int, Tensor]]:
    """Record the weights of the parsed semantics within this context.

    Yields:
        A dictionary, filled by each forward pass: stage → weights, (N, K, C), of the latest pass.
    """
    weights: dict[int, Tensor] = {}

    def read(stage: int) -> Any:
        def hook(balance: Balance, inputs: tuple[list[Tensor]], total: Tensor) -> None:
            weights[stage] = balance.weights(*inputs)

        return hook

    with ExitStack() as hooks:
        for stage, fusion in balanced_stages(model).items():
            hooks.enter_context(fusion.balance.register_forward_hook(read(stage)))
        yield weights


@contextmanager
def watch_words(model: S2RM) -> Iterator[dict[int, Tensor]]:
    """Record the affinity of each word to each position within this context.

    Yields:
        A dictionary, filled by each forward pass: stage → affinities, (N, T, H, W), of the latest pass.
    """
    affinities: dict[int, Tensor] = {}

    def read(stage: int) -> Any:
        def hook(attention: DistributeByAttention, inputs: tuple[Any, ...], distributed: Tensor) -> None:
            affinities[stage] = attention.affinity(*inputs)

        return hook

    with ExitStack() as hooks:
        for stage, attention in attentive_stages(model).items():
            hooks.enter_context(attention.register_forward_hook(read(stage)))
        yield affinities


@contextmanager
def watch_stage(model: S2RM, stage: int) -> Iterator[StageInsight]:
    """Record gates, weights and shares of one stage within this context.

    Args:
        model: the model whose forward passes are watched.
        stage: one of `balanced_stages(model)`.

    Yields:
        What the latest forward pass did; its fields are set once a pass has run.

    Raises:
        KeyError: the stage balances no parsed semantics.
    """
    fusion = balanced_stages(model)[stage]
    seen = StageInsight(places_of(fusion))

    def read_gates(role: str) -> Any:
        def hook(
            scan: ScanRecurrence, inputs: tuple[Any, int, list[bool]], states: tuple[Tensor, ...]
        ) -> None:
            (z, _), dim, directions = inputs
            seen.gates |= {(role, SWEEPS.index((dim, reverse))): z for reverse in directions}

        return hook

    def read_balance(balance: Balance, inputs: tuple[list[Tensor]], total: Tensor) -> None:
        (semantics,) = inputs
        seen.weights = balance.weights(semantics)
        seen.shares = attribute_shares(semantics, seen.weights)

    with ExitStack() as hooks:
        for role, coparse in _roles(fusion).items():
            if isinstance(coparse.recurrence, ScanRecurrence):
                hooks.enter_context(coparse.recurrence.register_forward_hook(read_gates(role)))
        hooks.enter_context(fusion.balance.register_forward_hook(read_balance))
        yield seen


def attribute_shares(semantics: list[Tensor], weights: Tensor) -> Tensor:
    """Compute the share of each parsed semantic in what enters the output convolution, by position.

    Args:
        semantics: K maps Y_k, (N, C, H, W) each.
        weights: w, (N, K, C).

    Returns:
        Σ_c w_kc |Y_kc| / Σ_k Σ_c w_kc |Y_kc|, (N, K, H, W).
    """
    parts = [
        torch.einsum("nc,nchw->nhw", weight, semantic.abs())
        for semantic, weight in zip(semantics, weights.unbind(1), strict=True)
    ]
    contributions = torch.stack(parts, dim=1)
    return contributions / contributions.sum(1, keepdim=True).clamp_min(torch.finfo(contributions.dtype).tiny)
