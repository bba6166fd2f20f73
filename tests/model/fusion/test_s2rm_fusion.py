"""The fusions of a stage, and the cascade between stages, against their formulas."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.fusion.baselines import ConcatFusion, PixelWordAttention
from s2rm.model.fusion.s2rm_fusion import S2RMFusion
from s2rm.model.s2rm import S2RM

WIDTH, LANGUAGE_WIDTH, SIZE = 8, 6, (3, 2)
OWNERS = torch.tensor([1, 0, 1])
EXACT = {"rtol": 0.0, "atol": 1e-10}
PLACES = [(n, row, column) for n in range(len(OWNERS)) for row in range(SIZE[0]) for column in range(SIZE[1])]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def vision() -> Tensor:
    return torch.randn(2, WIDTH, *SIZE, dtype=torch.float64)


@pytest.fixture
def language() -> LanguageFeatures:
    words = torch.randn(len(OWNERS), 4, LANGUAGE_WIDTH, dtype=torch.float64)
    return LanguageFeatures(words, torch.ones(len(OWNERS), 4, dtype=torch.bool), words.mean(1))


def at(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a pointwise convolution at one position."""
    return layer.weight.flatten(1) @ x + layer.bias


def s2rm(**switches: Any) -> S2RMFusion:
    full = {
        "distribution": "attention",
        "query": "sentence",
        "affinity": "sigmoid",
        "refine": True,
        "coordinates": False,
        "coparsing": "both",
        "rotations": 4,
        "state": "generator",
        "recurrence": "scan",
        "slice_kernel": 3,
        "balancing": True,
    }
    fusion = S2RMFusion(WIDTH, LANGUAGE_WIDTH, **full | switches).double()
    if switches.get("balancing", True):
        nn.init.normal_(fusion.balance.weigh[-1].weight)  # starts as zeros: the plain mean
    return fusion


@pytest.mark.parametrize("balancing", [True, False])
@pytest.mark.parametrize(
    ("coparsing", "contexts"),
    [("both", 2), ("language_to_vision", 1), ("vision_to_language", 1), ("none", 2)],
)
def test_the_balanced_sums_of_the_contexts_lie_side_by_side(
    vision: Tensor, language: LanguageFeatures, coparsing: str, contexts: int, balancing: bool
) -> None:
    fusion = s2rm(coparsing=coparsing, balancing=balancing)
    distributed, semantics = fusion.parse(vision, language, OWNERS)
    semantics = semantics or [vision[OWNERS], distributed]
    each = len(semantics) // contexts
    equal = torch.full((3, len(semantics), WIDTH), 1 / len(semantics))
    weights = fusion.balance.weights(semantics) if balancing else equal
    expected = torch.empty(3, WIDTH, *SIZE, dtype=torch.float64)
    for n, row, column in PLACES:
        sums = [
            contexts
            * sum(
                weights[n, k] * semantics[k][n, :, row, column]
                for k in range(context * each, (context + 1) * each)
            )
            for context in range(contexts)
        ]
        plain = vision[OWNERS[n], :, row, column]
        expected[n, :, row, column] = plain + at(fusion.out, torch.cat(sums))
    torch.testing.assert_close(fusion(vision, language, OWNERS), expected, **EXACT)


def test_pwam_multiplies_the_gathered_words_into_the_vision_map(
    vision: Tensor, language: LanguageFeatures
) -> None:
    fusion = PixelWordAttention(WIDTH, LANGUAGE_WIDTH, query="sentence").double()
    gathered = fusion.attention(vision, language, OWNERS)
    gelu = nn.functional.gelu
    expected = torch.empty(3, WIDTH, *SIZE, dtype=torch.float64)
    for n, row, column in PLACES:
        plain = vision[OWNERS[n], :, row, column]
        product = gelu(at(fusion.vision[0], plain)) * gathered[n, :, row, column]
        expected[n, :, row, column] = plain + gelu(at(fusion.out[0], product))
    torch.testing.assert_close(fusion(vision, language, OWNERS), expected, **EXACT)


def test_concat_joins_the_sentence_at_every_position(vision: Tensor, language: LanguageFeatures) -> None:
    fusion = ConcatFusion(WIDTH, LANGUAGE_WIDTH).double()
    expected = torch.empty(3, WIDTH, *SIZE, dtype=torch.float64)
    for n, row, column in PLACES:
        plain = vision[OWNERS[n], :, row, column]
        joined = torch.cat([plain, fusion.tile.project(language.sentence[n])])
        expected[n, :, row, column] = plain + nn.functional.gelu(at(fusion.out[0], joined))
    torch.testing.assert_close(fusion(vision, language, OWNERS), expected, **EXACT)


@torch.no_grad()
def test_in_the_cascade_a_fused_map_joins_the_next_stages_vision_map(build_tiny: Callable[..., S2RM]) -> None:
    model = build_tiny("fusion.cascade=bottom_up")
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
    mask = torch.ones_like(ids)
    maps, language, own = model.encode_images(images), model.language(ids, mask), torch.arange(3)
    fused = [model.fusion[0](maps[0], language, OWNERS)]
    for fuse, project, plain in zip(model.fusion[1:], model.cascade, maps[1:], strict=True):
        below = fused[-1].unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1))
        fused.append(fuse(plain[OWNERS] + project(below), language, own))
    expected = model.decoder(fused, language.sentence)
    found = model(images, ids, mask, OWNERS).coarse
    for logits, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(logits, wanted, **EXACT)
