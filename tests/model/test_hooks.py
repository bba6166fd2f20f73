"""Hooks report what applied in the forward pass, and each sweep by its right name."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.hooks import (
    attentive_stages,
    attribute_shares,
    balanced_stages,
    places_of,
    watch_stage,
    watch_weights,
    watch_words,
)
from s2rm.model.s2rm import S2RM

Build = Callable[..., S2RM]
STAGE = 2
ROLES = ("language_to_vision", "vision_to_language")
OPPOSITE = {0: 2, 1: 3, 2: 0, 3: 1}


def batch() -> tuple[Tensor, ...]:
    """Two images, three expressions."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 96, generator=random, dtype=torch.float64)
    token_ids = torch.randint(5, 40, (3, 5), generator=random)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    return images, token_ids, mask, torch.tensor([0, 1, 1])


def inputs_of(model: S2RM) -> tuple[Tensor, LanguageFeatures, Tensor]:
    """Return what the fusion of STAGE receives in a forward pass of `batch`."""
    images, token_ids, mask, index = batch()
    return model.encode_images(images)[STAGE - 1], model.language(token_ids, mask), index


@torch.no_grad()
def test_gates_are_those_of_the_equations(build_tiny: Build) -> None:
    """z = σ(W_z [u; p]) with u = bundle(g), computed on rotated contexts, row by row."""
    model = build_tiny()
    fusion = model.fusion[STAGE - 1]
    with watch_stage(model, STAGE) as seen:
        model(*batch())
    vision, language, index = inputs_of(model)
    distributed = fusion.distribute(vision, language, index)
    contexts = {ROLES[0]: (distributed, vision[index]), ROLES[1]: (vision[index], distributed)}
    assert seen.places == [(role, rotation) for role in ROLES for rotation in range(4)]
    assert set(seen.gates) == set(seen.places)
    for role, rotation in seen.places:
        generator, parsed = (torch.rot90(context, rotation, (2, 3)) for context in contexts[role])
        coparse = fusion.coparse[role]
        kernel = (coparse.bundle.weight + coparse.bundle.weight.flip(-1))[:, :, None] / 2
        bundled = conv2d(generator, kernel, padding=(0, 1), groups=len(kernel))
        recurrence = coparse.recurrence
        z = torch.sigmoid(recurrence.gate(bundled) + recurrence.gate_parsed(parsed))
        torch.testing.assert_close(seen.gates[role, rotation], torch.rot90(z, -rotation, (2, 3)))


@torch.no_grad()
def test_weights_and_shares_are_those_of_the_parsed_semantics(build_tiny: Build) -> None:
    model = build_tiny()
    with watch_stage(model, STAGE) as seen, watch_weights(model) as weights:
        model(*batch())
    fusion = model.fusion[STAGE - 1]
    semantics = torch.stack(fusion.parse(*inputs_of(model))[1], 1)
    torch.testing.assert_close(seen.weights, fusion.balance.weights(list(semantics.unbind(1))))
    torch.testing.assert_close(seen.weights.sum(1), torch.ones(3, 8, dtype=torch.float64))
    assert seen.weights.std(1).min() > 0
    contributions = (seen.weights[..., None, None] * semantics).abs().sum(2)
    torch.testing.assert_close(seen.shares, contributions / contributions.sum(1, keepdim=True))
    assert list(weights) == [1, 2, 3, 4]
    assert torch.equal(weights[STAGE], seen.weights)


@pytest.mark.parametrize("overrides", [(), ("fusion.kind=pwam",), ("fusion.cascade=bottom_up",)], ids=str)
@torch.no_grad()
def test_affinities_are_those_that_the_distribution_applies(
    build_tiny: Build, overrides: tuple[str, ...]
) -> None:
    """Summing the values under them gives the map that enters the output projection."""
    model = build_tiny(*overrides)
    gathered: dict[int, Tensor] = {}
    attentions = attentive_stages(model)
    for stage, attention in attentions.items():
        attention.out.register_forward_pre_hook(lambda _, inputs, k=stage: gathered.update({k: inputs[0]}))
    with watch_words(model) as affinities:
        model(*batch())
    language = model.encode_expressions(*batch()[1:3])
    assert list(affinities) == [1, 2, 3, 4]
    for stage, affinity in affinities.items():
        value = attentions[stage].key_value(language.words).chunk(2, dim=-1)[1]
        torch.testing.assert_close(torch.einsum("nthw,ntc->nchw", affinity, value), gathered[stage])
        assert affinity[~language.word_mask].eq(0).all()
        assert affinity.std() > 0


def test_shares_by_hand() -> None:
    semantics = [torch.tensor([1.0, -2.0]).view(1, 2, 1, 1), torch.tensor([-3.0, 0.0]).view(1, 2, 1, 1)]
    weights = torch.tensor([[[0.75, 0.5], [0.25, 0.5]]])
    # 1.75 and 0.75 of 2.5
    assert attribute_shares(semantics, weights).flatten().tolist() == pytest.approx([0.7, 0.3])
    assert attribute_shares([0 * semantic for semantic in semantics], weights).flatten().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("flipped_dim", "swapped"), [(2, (0, 2)), (3, (1, 3))], ids=["upside down", "left to right"]
)
@torch.no_grad()
def test_in_a_mirrored_image_the_sweeps_along_it_swap_places(
    build_tiny: Build, flipped_dim: int, swapped: tuple[int, int]
) -> None:
    model = build_tiny()
    fusion = model.fusion[STAGE - 1]
    for parameter in fusion.balance.weigh[-1].parameters():
        parameter.zero_()  # equal weights: they follow the number of a semantic, not its direction
    vision, language, index = inputs_of(model)
    with watch_stage(model, STAGE) as upright:
        fusion(vision, language, index)
    with watch_stage(model, STAGE) as mirrored:
        fusion(vision.flip(flipped_dim), language, index)
    for k, (role, rotation) in enumerate(upright.places):
        partner = OPPOSITE[rotation] if rotation in swapped else rotation
        other = upright.places.index((role, partner))
        torch.testing.assert_close(
            mirrored.gates[role, rotation], upright.gates[role, partner].flip(flipped_dim)
        )
        torch.testing.assert_close(mirrored.shares[:, k], upright.shares[:, other].flip(flipped_dim - 1))
        if partner != rotation:
            assert not torch.allclose(upright.shares[:, k], upright.shares[:, other], rtol=1e-2)


@torch.no_grad()
def test_opposite_sweeps_share_their_gates(build_tiny: Build) -> None:
    """The figure's caption and docs/evaluation.md say so."""
    model = build_tiny()
    with watch_stage(model, STAGE) as seen:
        model(*batch())
    for (role, rotation), gates in seen.gates.items():
        assert torch.equal(gates, seen.gates[role, OPPOSITE[rotation]])
    assert not torch.allclose(seen.gates[ROLES[0], 0], seen.gates[ROLES[0], 1])


@torch.no_grad()
def test_watching_changes_nothing_and_ends(build_tiny: Build) -> None:
    model = build_tiny()
    plain = model(*batch()).logits
    with watch_stage(model, STAGE) as seen, watch_weights(model) as weights, watch_words(model) as words:
        assert torch.equal(model(*batch()).logits, plain)
    first, first_gates, first_words = weights[1], seen.gates[ROLES[0], 0], words[1]
    model(*(tensor.flip(0) for tensor in batch()[:3]), batch()[3])
    assert weights[1] is first
    assert seen.gates[ROLES[0], 0] is first_gates
    assert words[1] is first_words
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("overrides", "stages", "places", "has_gates"),
    [
        ((), [1, 2, 3, 4], 8, True),
        (("fusion.stages=[3, 4]",), [3, 4], 8, True),
        (("fusion.rotations=2", "fusion.coparsing=vision_to_language"), [1, 2, 3, 4], 2, True),
        (("fusion.recurrence=gru",), [1, 2, 3, 4], 8, False),
        (("fusion.coparsing=none",), [], 0, False),
        (("fusion.balancing=false",), [], 0, False),
        (("fusion.kind=pwam",), [], 0, False),
        (("fusion.kind=concat",), [], 0, False),
        (("fusion.kind=none",), [], 0, False),
    ],
    ids=str,
)
@torch.no_grad()
def test_what_a_model_has_is_what_its_switches_say(
    build_tiny: Build, overrides: tuple[str, ...], stages: list[int], places: int, has_gates: bool
) -> None:
    model = build_tiny(*overrides)
    assert list(balanced_stages(model)) == stages
    no_weights, no_gates = model.config.fusion.why_no_weights, model.config.fusion.why_no_gates
    assert (no_weights is None) is bool(stages)
    assert (no_gates is None) is has_gates
    if not stages:
        assert no_weights == no_gates
        assert no_weights.startswith(overrides[0])
        return
    with watch_stage(model, stages[0]) as seen, watch_weights(model) as weights:
        model(*batch())
    assert list(weights) == stages
    assert len(seen.places) == places
    assert seen.places == places_of(model.fusion[stages[0] - 1])
    assert len(seen.gates) == (places if has_gates else 0)
    assert seen.shares.shape[1] == seen.weights.shape[1] == places


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        ((), [1, 2, 3, 4]),
        (("fusion.stages=[3, 4]",), [3, 4]),
        (("fusion.coparsing=none",), [1, 2, 3, 4]),
        (("fusion.kind=pwam",), [1, 2, 3, 4]),
        (("fusion.distribution=tile",), []),
        (("fusion.kind=concat",), []),
        (("fusion.kind=none",), []),
    ],
    ids=str,
)
@torch.no_grad()
def test_the_stages_that_distribute_words_are_those_that_the_switches_say(
    build_tiny: Build, overrides: tuple[str, ...], stages: list[int]
) -> None:
    model = build_tiny(*overrides)
    assert list(attentive_stages(model)) == stages
    why = model.config.fusion.why_no_words
    assert why is None if stages else why.startswith(overrides[0])
    with watch_words(model) as affinities:
        model(*batch())
    assert list(affinities) == stages
