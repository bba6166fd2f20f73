"""Each switch of fusion, decoder and vision really removes its part, and every variant trains."""

from collections.abc import Callable

import pytest
import torch

from s2rm.model.coparse import SWEEPS
from s2rm.model.ris import S2RM

Build = Callable[..., S2RM]
S1 = "fusion.balancing=false"  # a single parsed semantic leaves nothing to balance


def count(model: S2RM) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def masks_of(model: S2RM) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=random, dtype=torch.float64)
    token_ids = torch.randint(5, 40, (3, 5), generator=random)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    masks = model(images, token_ids, mask, torch.tensor([0, 1, 1]))
    return torch.cat([masks.logits.flatten(), *(coarse.flatten() for coarse in masks.coarse)])


# what is switched off; words in the names of parameters that then must be gone
REMOVALS = [
    (("fusion.kind=pwam",), ["coparse", "balance"]),
    (("fusion.kind=concat",), ["coparse", "balance", "distribute.query"]),
    (("fusion.kind=none",), ["coparse", "balance", "distribute", "language"]),
    (("fusion.distribution=tile",), ["distribute.query", "distribute.key_value"]),
    (("fusion.coparsing=language_to_vision",), ["vision_to_language"]),
    (("fusion.coparsing=vision_to_language",), ["language_to_vision"]),
    (("fusion.coparsing=none",), ["coparse", "balance"]),
    (("fusion.rotations=2",), []),
    (("fusion.rotations=1",), []),
    (("fusion.slice_kernel=1",), []),
    (("fusion.balancing=false",), ["balance"]),
    (("fusion.stages=[3, 4]",), ["fusion.0", "fusion.1"]),
    (("decoder.kind=fpn",), ["guide"]),
    (("decoder.language_guidance=false",), ["guide.3"]),
    (("decoder.foreground_guidance=false",), []),
    (("decoder.language_guidance=false", "decoder.foreground_guidance=false"), ["guide"]),
    (("vision.coordinates=false",), ["place"]),
]


@pytest.mark.parametrize(("overrides", "gone"), REMOVALS, ids=lambda value: "-".join(value))
@torch.no_grad()
def test_a_switch_removes_its_part(build_tiny: Build, overrides: tuple[str, ...], gone: list[str]) -> None:
    full, reduced = build_tiny(), build_tiny(*overrides)
    # FPN's dense 3×3 convolutions outweigh the guidance that it lacks.
    assert count(reduced) < count(full) or overrides == ("decoder.kind=fpn",)
    names = [name for name, _ in reduced.named_parameters()]
    for word in gone:
        assert any(word in name for name, _ in full.named_parameters()), word
        assert not [name for name in names if word in name]
    assert outputs_differ(full, reduced)


def outputs_differ(full: S2RM, other: S2RM) -> bool:
    """With all weights that both have made the same."""
    weights = full.state_dict()
    own = other.state_dict()
    own |= {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    other.load_state_dict(own)
    return not torch.allclose(masks_of(full), masks_of(other), atol=1e-6)


@torch.no_grad()
def test_a_cascade_and_a_gru_are_other_parts(build_tiny: Build) -> None:
    full = build_tiny()
    cascade, gru = build_tiny("fusion.cascade=bottom_up"), build_tiny("fusion.recurrence=gru")
    assert full.cascade is None
    assert count(cascade) == count(full) + sum(p.numel() for p in cascade.cascade.parameters())
    assert outputs_differ(full, cascade)
    names = [name for name, _ in gru.named_parameters()]
    assert [name for name in names if "recurrence.gru" in name]
    assert not [name for name in names if "candidate" in name]
    assert outputs_differ(full, gru)


@pytest.mark.parametrize("rotations", [1, 2, 4])
@torch.no_grad()
def test_rotations_share_weights_but_not_results(build_tiny: Build, rotations: int) -> None:
    full, fewer = build_tiny(S1), build_tiny(S1, f"fusion.rotations={rotations}")
    assert count(full) == count(fewer)
    assert outputs_differ(full, fewer) == (rotations < 4)


@pytest.mark.parametrize(
    ("coparsing", "rotations", "expected"),
    [
        ("both", 4, 8),
        ("both", 1, 2),
        ("language_to_vision", 4, 4),
        ("vision_to_language", 2, 2),
        ("none", 4, 0),
    ],
)
@torch.no_grad()
def test_number_of_parsed_semantics(build_tiny: Build, coparsing: str, rotations: int, expected: int) -> None:
    overrides = (f"fusion.coparsing={coparsing}", f"fusion.rotations={rotations}", "fusion.stages=[4]")
    model = build_tiny(*overrides)
    fusion = model.fusion[3]
    token_ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    language = model.language(token_ids, torch.ones_like(token_ids))
    vision = torch.randn(1, 8, 2, 3, dtype=torch.float64)
    distributed, semantics = fusion.parse(vision, language, torch.tensor([0, 0]))
    assert len(semantics) == expected == model.config.fusion.parsed_semantics
    assert {semantic.shape for semantic in [distributed, *semantics]} == {(2, 8, 2, 3)}
    if coparsing == "both":  # both roles are played: each context is the generator of half of them
        half = len(semantics) // 2
        assert not torch.allclose(semantics[0], semantics[half])


def test_rotations_cover_rows_and_columns_in_both_senses() -> None:
    assert sorted(SWEEPS) == [(2, False), (2, True), (3, False), (3, True)]


VARIANTS = [
    (),
    *(overrides for overrides, _ in REMOVALS),
    ("fusion.recurrence=gru",),
    ("fusion.cascade=bottom_up",),
    ("fusion.slice_kernel=5",),
    ("fusion.coparsing=language_to_vision", "fusion.rotations=1", S1),
    ("fusion.coparsing=vision_to_language", "fusion.rotations=2", "fusion.recurrence=gru"),
    *((f"fusion.stages=[{stage}]", "fusion.cascade=bottom_up") for stage in (1, 2, 3, 4)),
    ("fusion.kind=none", "decoder.kind=fpn"),
    ("fusion.kind=pwam", "fusion.stages=[2, 4]", "decoder.foreground_guidance=false"),
]


@pytest.mark.parametrize("overrides", VARIANTS, ids=lambda value: "-".join(value) or "full")
def test_every_parameter_of_every_variant_receives_a_finite_gradient(
    build_tiny: Build, overrides: tuple[str, ...]
) -> None:
    model = build_tiny(*overrides).train()
    masks = masks_of(model)
    assert torch.isfinite(masks).all()
    masks.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if parameter.ndim > 1:
            assert parameter.grad.any(), name
