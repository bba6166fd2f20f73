"""CASG against its formulas, position by position and stage by stage."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.decoders.casg import CASG, AbstractSemanticGuide, pool_foreground

WIDTHS, WIDTH, SENTENCE = [8, 8, 16, 24], 8, 5
SIZES = [(8, 12), (4, 6), (2, 3), (1, 2)]
EXACT = {"rtol": 0.0, "atol": 1e-10}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def pool_plainly(x: Tensor, logits: Tensor) -> Tensor:
    """x (C, H, W), logits (H, W) → (C,)."""
    total, area = torch.zeros(len(x), dtype=x.dtype), 0.0
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            weight = logits[row, column].sigmoid()
            total, area = total + weight * x[:, row, column], area + weight
    return total / area


def guide_plainly(layers: AbstractSemanticGuide, x: Tensor, semantic: Tensor) -> Tensor:
    """x (C, H, W), semantic (D,) → (C, H, W)."""
    abstract = layers.abstract(semantic)
    gate, match = 2 * layers.gate(abstract).sigmoid(), layers.match(abstract)
    weight, bias = layers.key.weight.flatten(1), layers.key.bias
    guided = torch.empty_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            key = weight @ x[:, row, column] + bias
            cosine = key @ match / (key.norm() * match.norm())
            lift = 1 + (layers.shift + layers.scale * cosine).sigmoid()
            guided[:, row, column] = x[:, row, column] * gate * lift
    return guided


def test_the_foreground_is_the_mean_under_the_predicted_mask() -> None:
    x, logits = values(3, WIDTH, 4, 6), values(3, 1, 4, 6)
    expected = torch.stack([pool_plainly(x[n], logits[n, 0]) for n in range(3)])
    torch.testing.assert_close(pool_foreground(x, logits), expected, **EXACT)


def test_an_abstract_semantic_guides_by_channel_and_in_space() -> None:
    layers = AbstractSemanticGuide(SENTENCE, WIDTH).double()
    nn.init.normal_(layers.shift)
    x, semantic = values(3, WIDTH, 4, 6), values(3, SENTENCE)
    expected = torch.stack([guide_plainly(layers, x[n], semantic[n]) for n in range(3)])
    torch.testing.assert_close(layers(x, semantic), expected, **EXACT)


@pytest.mark.parametrize("language_guidance", [True, False])
@pytest.mark.parametrize("foreground_guidance", [True, False])
def test_decodes_from_the_coarsest_map_to_the_finest(
    language_guidance: bool, foreground_guidance: bool
) -> None:
    casg = CASG(
        WIDTHS,
        WIDTH,
        SENTENCE,
        language_guidance=language_guidance,
        foreground_guidance=foreground_guidance,
    ).double()
    fused = [values(1, width, *size) for width, size in zip(WIDTHS, SIZES, strict=True)]
    sentence = values(1, SENTENCE)
    found = casg(fused, sentence)
    assert [logits.shape for logits in found] == [(1, 1, *size) for size in SIZES]
    x = logits = None
    for i in (3, 2, 1, 0):
        semantic = [sentence[0]] if language_guidance else []
        if foreground_guidance and x is not None and logits is not None:
            semantic.append(pool_plainly(x[0], logits[0, 0]))
        guided = casg.lateral[i](fused[i])
        if semantic:
            guided = guide_plainly(casg.guide[i], guided[0], torch.cat(semantic))[None]
        if x is not None:
            guided = guided + F.interpolate(x, SIZES[i], mode="bilinear")
        x = casg.merge[i](guided)
        logits = casg.mask[i](x)
        torch.testing.assert_close(found[i], logits, **EXACT)
