"""Property 7: each switch really removes or changes its part, and every combination trains.

A switch that changes nothing is refused: measured here on every pair, against the table in switches.py.
"""

import json
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2rm.config.params import Decoder, Fusion, Loss, Params
from s2rm.config.switches import FULL_METHOD, IDLE
from s2rm.core.errors import UserError
from s2rm.model.s2rm import S2RM, Masks
from s2rm.training.loss import segmentation_loss

Build = Callable[..., S2RM]

# switch: its other values; how the number of parameters changes; names of parameters that are gone
SWITCHES: dict[str, list[tuple[Any, str, list[str]]]] = {
    "fusion.kind": [
        ("pwam", "fewer", ["coparse", "balance"]),
        ("concat", "fewer", ["coparse", "balance", "distribute"]),
        ("none", "fewer", ["coparse", "balance", "distribute", "language"]),
    ],
    "fusion.stages": [
        ([1], "fewer", ["fusion.1", "fusion.2", "fusion.3"]),
        ([2], "fewer", ["fusion.0", "fusion.2", "fusion.3"]),
        ([3], "fewer", ["fusion.0", "fusion.1", "fusion.3"]),
        ([4], "fewer", ["fusion.0", "fusion.1", "fusion.2"]),
        ([3, 4], "fewer", ["fusion.0", "fusion.1"]),
    ],
    "fusion.distribution": [("tile", "fewer", ["distribute.query", "distribute.key_value"])],
    "fusion.query": [("word", "same", [])],
    "fusion.affinity": [("softmax", "fewer", ["distribute.bias"])],
    "fusion.refine": [(False, "fewer", ["distribute.refine"])],
    "fusion.coordinates": [(True, "more", [])],
    "fusion.coparsing": [
        ("language_to_vision", "fewer", ["vision_to_language"]),
        ("vision_to_language", "fewer", ["language_to_vision"]),
        ("none", "fewer", ["coparse"]),
    ],
    "fusion.rotations": [(2, "fewer", []), (1, "fewer", [])],  # of the balancing; the sweeps share theirs
    "fusion.state": [("match", "more", ["recurrence.gate_parsed"])],
    "fusion.recurrence": [("gru", "more", ["candidate"])],
    "fusion.slice_kernel": [(1, "fewer", []), (5, "more", [])],
    "fusion.balancing": [(False, "fewer", ["balance"])],
    "fusion.cascade": [("bottom_up", "more", [])],
    "decoder.kind": [("fpn", "fewer", ["guide"])],  # at this width: its dense 3×3 convolutions are more
    "decoder.language_guidance": [(False, "fewer", ["guide.3"])],
    "decoder.foreground_guidance": [(False, "fewer", [])],
}
CHANGES = [(key, *change) for key, changes in SWITCHES.items() for change in changes]


def override(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"


def count(model: S2RM) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def predict(model: S2RM) -> Masks:
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=random, dtype=torch.float64)
    token_ids = torch.randint(5, 40, (3, 5), generator=random)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    return model(images, token_ids, mask, torch.tensor([0, 1, 1]))


def outputs(model: S2RM) -> Tensor:
    masks = predict(model)
    return torch.cat([masks.logits.flatten(), *(coarse.flatten() for coarse in masks.coarse)])


def outputs_differ(full: S2RM, other: S2RM) -> bool:
    """With all weights that both have made the same."""
    weights, own = full.state_dict(), other.state_dict()
    own |= {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    other.load_state_dict(own)
    return not torch.allclose(outputs(full), outputs(other), rtol=0, atol=1e-6)


def test_every_value_of_every_switch_is_tested_here() -> None:
    sections = {"fusion": Fusion, "decoder": Decoder}
    found = {}
    for name, section in sections.items():
        for key, field in section.model_fields.items():
            values = (True, False) if field.annotation is bool else get_args(field.annotation)
            if field.annotation is bool or get_origin(field.annotation) is Literal:
                found[f"{name}.{key}"] = set(values) - {FULL_METHOD[f"{name}.{key}"]}
    assert found == {
        key: {value for value, *_ in changes}
        for key, changes in SWITCHES.items()
        if key not in ("fusion.stages", "fusion.slice_kernel")  # of lists and numbers, some
    }
    assert SWITCHES.keys() == FULL_METHOD.keys() | {"fusion.stages"}


@pytest.mark.parametrize(
    ("key", "value", "parameters", "gone"), CHANGES, ids=[override(*change[:2]) for change in CHANGES]
)
@torch.no_grad()
def test_a_switch_changes_its_part(
    build_tiny: Build, key: str, value: Any, parameters: str, gone: list[str]
) -> None:
    full, other = build_tiny(), build_tiny(override(key, value))
    difference = count(other) - count(full)
    assert {-1: "fewer", 0: "same", 1: "more"}[(difference > 0) - (difference < 0)] == parameters
    for word in gone:
        assert any(word in name for name, _ in full.named_parameters()), word
        assert not [name for name, _ in other.named_parameters() if word in name]
    assert outputs_differ(full, other)


@torch.no_grad()
def test_coordinates_are_a_part(build_tiny: Build) -> None:
    full, without = build_tiny(), build_tiny("vision.coordinates=false")
    assert count(without) < count(full)
    assert not [name for name, _ in without.named_parameters() if "place" in name]
    assert outputs_differ(full, without)


@pytest.mark.parametrize("rotations", [1, 2, 4])
@torch.no_grad()
def test_rotations_share_weights_but_not_results(build_tiny: Build, rotations: int) -> None:
    plain = "fusion.balancing=false"
    full, fewer = build_tiny(plain), build_tiny(plain, f"fusion.rotations={rotations}")
    assert count(full) == count(fewer)
    assert outputs_differ(full, fewer) == (rotations < 4)


@torch.no_grad()
def test_balancing_and_coparsing_are_four_methods(build_tiny: Build) -> None:
    cells = [
        build_tiny(f"fusion.coparsing={coparsing}", f"fusion.balancing={balancing}")
        for coparsing in ("both", "none")
        for balancing in ("true", "false")
    ]
    assert len({count(model) for model in cells}) == 4
    for i, model in enumerate(cells):
        for other in cells[:i]:
            assert outputs_differ(other, model)


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


@pytest.fixture(scope="module")
def single_changes(build_tiny: Build) -> dict[str, S2RM]:
    """For each switch, the full method with its first other value."""
    return {key: build_tiny(override(key, changes[0][0])) for key, changes in SWITCHES.items()}


# Of switches in their order above, so that each pair is met once; all values where they are of several kinds.
FIRSTS = [
    (key, value)
    for key, changes in list(SWITCHES.items())[:-1]
    for value, *_ in (changes if key in ("fusion.kind", "fusion.coparsing") else changes[:1])
]


@pytest.mark.parametrize("first", FIRSTS, ids=lambda first: override(*first))
@torch.no_grad()
def test_two_switches_are_refused_exactly_where_one_of_them_changes_nothing(
    build_tiny: Build,
    tiny_params: Callable[..., Params],
    single_changes: dict[str, S2RM],
    first: tuple[str, Any],
) -> None:
    model = build_tiny(override(*first))
    keys = list(SWITCHES)
    for key in keys[keys.index(first[0]) + 1 :]:
        if key == "fusion.stages" and first == ("fusion.kind", "none"):
            continue  # of the stages no value is the full method's, so none is refused
        section, name = key.split(".")
        value = SWITCHES[key][0][0]
        forced = getattr(model.config, section).model_copy(update={name: value})  # not validated
        both = S2RM(model.config.model_copy(update={section: forced})).double().eval()
        each_acts = all(
            count(one) != count(both) or outputs_differ(one, both) for one in (model, single_changes[key])
        )
        assert each_acts == (not is_refused(tiny_params, override(*first), override(key, value))), key


def is_refused(tiny_params: Callable[..., Params], *overrides: str) -> bool:
    try:
        tiny_params(*overrides)
    except UserError as error:
        return "changes nothing" in str(error)
    return False


combinations = st.fixed_dictionaries(
    {
        key: st.sampled_from([FULL_METHOD.get(key, [1, 2, 3, 4]), *(value for value, *_ in changes)])
        for key, changes in SWITCHES.items()
    }
)


def possible(combination: dict[str, Any]) -> list[str]:
    """As overrides, with idle switches left at the full method's values."""
    chosen = dict(combination)
    for (key, value), idle in IDLE.items():
        if chosen[key] == value:
            chosen |= {other: FULL_METHOD[other] for other in idle}
    if chosen["fusion.rotations"] == 1 and chosen["fusion.coparsing"] not in ("both", "none"):
        chosen["fusion.balancing"] = False  # a single semantic
    return [override(key, value) for key, value in chosen.items()]


def check_every_parameter_trains(model: S2RM) -> None:
    predicted = outputs(model.train())
    assert torch.isfinite(predicted).all()
    predicted.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if parameter.ndim > 1:
            assert parameter.grad.any(), name


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("vision.coordinates=false",),
        ("decoder.language_guidance=false", "decoder.foreground_guidance=false"),
        *((override(*change[:2]),) for change in CHANGES),
    ],
    ids=lambda overrides: " ".join(overrides) or "full",
)
def test_every_value_leaves_no_parameter_without_a_finite_gradient(
    build_tiny: Build, overrides: tuple[str, ...]
) -> None:
    check_every_parameter_trains(build_tiny(*overrides))


@pytest.mark.slow
@settings(max_examples=25)
@given(combination=combinations)
def test_every_combination_trains(build_tiny: Build, combination: dict[str, Any]) -> None:
    check_every_parameter_trains(build_tiny(*possible(combination)))


@pytest.mark.parametrize(
    ("overrides", "used_elsewhere"),
    [
        ((), True),  # a coarse mask's foreground makes the next abstract semantic
        (("decoder.foreground_guidance=false",), False),
        (("decoder.kind=fpn",), False),
    ],
    ids=["foreground guidance", "none", "fpn"],
)
def test_auxiliary_losses_are_part_of_the_loss_and_train_the_coarse_masks(
    build_tiny: Build, overrides: tuple[str, ...], used_elsewhere: bool
) -> None:
    target = torch.zeros(3, 1, 64, 64, dtype=torch.bool)
    target[..., 16:40, 8:48] = True
    losses, trained = [], []
    for auxiliary in (0.4, 0.0):
        model = build_tiny(*overrides)
        loss = segmentation_loss(predict(model), target, Loss(bce=1.0, dice=1.0, auxiliary=auxiliary))["loss"]
        loss.backward()
        losses.append(loss.item())
        heads = [head.weight.grad for head in model.decoder.mask]
        trained.append([gradient is not None and bool(gradient.any()) for gradient in heads])
    assert losses[0] > losses[1] + 1e-3
    assert trained == [[True] * 4, [True, *[used_elsewhere] * 3]]
