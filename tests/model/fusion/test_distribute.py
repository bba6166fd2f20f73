"""The distribution against its formulas, expression by expression and position by position."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.fusion.distribute import DistributeByAttention, Refine

WIDTH, LANGUAGE_WIDTH = 8, 6
OWNERS = torch.tensor([1, 0, 1])
LENGTHS = (4, 1, 3)


def apply(layer: nn.Module, x: Tensor) -> Tensor:
    """A pointwise layer on one vector."""
    return layer.weight.flatten(1) @ x + layer.bias


def plainly(
    layers: DistributeByAttention, query_by: str, vision: Tensor, words: Tensor, sentence: Tensor
) -> tuple[Tensor, Tensor]:
    """One expression: vision (C, H, W), words (T, D) without padding, sentence (D,) → L, a (T, H, W)."""
    keys, values = torch.stack([apply(layers.key_value, word) for word in words]).chunk(2, 1)

    def affinity(query: Tensor) -> Tensor:
        product = (keys @ query) / WIDTH**0.5
        return product.softmax(0) if layers.bias is None else (product + layers.bias).sigmoid()

    gathered = torch.empty_like(vision)
    affinities = vision.new_empty(len(words), *vision.shape[1:])
    for row in range(vision.shape[1]):
        for column in range(vision.shape[2]):
            plain = apply(layers.query, vision[:, row, column])
            if layers.place is not None:
                # From −1 to 1 over 2 columns and 3 rows, at the centres of the pixels.
                place = vision.new_tensor([(-0.5, 0.5)[column], (-2 / 3, 0, 2 / 3)[row]])
                plain = plain + layers.place.weight @ place
            if query_by == "sentence":
                modulation = apply(layers.modulation, sentence)
            else:
                modulation = affinity(plain) @ torch.stack([apply(layers.modulation, word) for word in words])
            weights = affinity(plain * (1 + modulation))
            affinities[:, row, column] = weights
            gathered[:, row, column] = apply(layers.out[0], weights @ values)
    distributed = layers.out[1](gathered[None])[0]
    if layers.refine is None:
        return distributed, affinities
    refine, refined = layers.refine, torch.empty_like(vision)
    inner = torch.cat([refine.language.weight, refine.vision.weight], dim=1)  # W_1 and W_3
    for row in range(vision.shape[1]):
        for column in range(vision.shape[2]):
            both = torch.cat([distributed[:, row, column], vision[:, row, column]])
            factors = (inner @ both + refine.language.bias).chunk(2)
            refined[:, row, column] = distributed[:, row, column] + apply(refine.out, factors[0] * factors[1])
    return refine.norm(refined[None])[0], affinities


def build(**switches: Any) -> DistributeByAttention:
    full = {"query": "sentence", "affinity": "sigmoid", "refine": True, "coordinates": False}
    return DistributeByAttention(WIDTH, LANGUAGE_WIDTH, **full | switches).double()


def draw(tokens: int = 4) -> tuple[Tensor, LanguageFeatures, Tensor]:
    vision = torch.randn(2, WIDTH, 3, 2, dtype=torch.float64)
    words = torch.randn(3, tokens, LANGUAGE_WIDTH, dtype=torch.float64)
    sentence = torch.randn(3, LANGUAGE_WIDTH, dtype=torch.float64)
    mask = torch.arange(tokens) < torch.tensor(LENGTHS)[:, None]
    return vision, LanguageFeatures(words, mask, sentence), OWNERS


@pytest.mark.parametrize("coordinates", [True, False])
@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("affinity", ["sigmoid", "softmax"])
@pytest.mark.parametrize("query", ["sentence", "word"])
def test_the_words_are_gathered_by_the_formulas(
    query: str, affinity: str, refine: bool, coordinates: bool
) -> None:
    torch.manual_seed(0)
    layers = build(query=query, affinity=affinity, refine=refine, coordinates=coordinates)
    vision, language, _ = draw()
    expected = [
        plainly(layers, query, vision[owner], language.words[n, : LENGTHS[n]], language.sentence[n])
        for n, owner in enumerate(OWNERS)
    ]
    found = layers(vision, language, OWNERS)
    torch.testing.assert_close(found, torch.stack([each for each, _ in expected]), rtol=0, atol=1e-10)
    for affinities, (_, plain), length in zip(
        layers.affinity(vision, language, OWNERS), expected, LENGTHS, strict=True
    ):
        torch.testing.assert_close(affinities[:length], plain, rtol=0, atol=1e-10)
        assert not affinities[length:].any()  # padding


@pytest.mark.parametrize("affinity", ["sigmoid", "softmax"])
@torch.no_grad()
def test_a_single_word_that_is_the_sentence_is_the_same_query(affinity: str) -> None:
    """Under a softmax, in which a single word weighs 1; under a sigmoid it weighs less."""
    torch.manual_seed(0)
    by_sentence, by_word = (build(query=query, affinity=affinity) for query in ("sentence", "word"))
    by_word.load_state_dict(by_sentence.state_dict())
    vision, language, owners = draw(tokens=1)
    language = LanguageFeatures(language.words, torch.ones(3, 1, dtype=torch.bool), language.words[:, 0])
    same = torch.allclose(by_word(vision, language, owners), by_sentence(vision, language, owners))
    assert same == (affinity == "softmax")


@pytest.mark.parametrize("affinity", ["sigmoid", "softmax"])
@torch.no_grad()
def test_a_further_word_takes_nothing_from_the_others_without_a_softmax(affinity: str) -> None:
    torch.manual_seed(0)
    layers = build(affinity=affinity)
    vision, language, owners = draw()
    fewer = language.word_mask.clone()
    fewer[0, 3] = False  # the first expression without its fourth word; the sentence stays
    without = LanguageFeatures(language.words, fewer, language.sentence)
    more, less = (layers.affinity(vision, each, owners) for each in (language, without))
    kept = slice(0, 3)
    assert torch.equal(more[1:], less[1:])
    assert (more[0, 3] > 0).all()
    if affinity == "sigmoid":
        assert torch.equal(more[0, kept], less[0, kept])
    else:
        assert (more[0, kept] < less[0, kept]).all()


@pytest.mark.parametrize("affinity", ["sigmoid", "softmax"])
@torch.no_grad()
def test_the_order_of_words_changes_nothing(affinity: str) -> None:
    """BERT knows their order; what is gathered from its words is a sum."""
    torch.manual_seed(0)
    layers = build(affinity=affinity)
    vision, language, owners = draw()
    order = torch.tensor([2, 0, 3, 1])
    turned = LanguageFeatures(language.words[:, order], language.word_mask[:, order], language.sentence)
    torch.testing.assert_close(
        layers(vision, turned, owners), layers(vision, language, owners), rtol=0, atol=1e-10
    )


def test_the_refinement_sees_one_position() -> None:
    torch.manual_seed(0)
    refine = Refine(WIDTH).double()
    refine.norm = nn.Identity()  # which is over the whole map
    distributed = torch.randn(3, WIDTH, 3, 2, dtype=torch.float64, requires_grad=True)
    vision = torch.randn(2, WIDTH, 3, 2, dtype=torch.float64, requires_grad=True)
    refine(distributed, vision, OWNERS)[0, :, 1, 1].sum().backward()
    seen = torch.zeros(3, 2, dtype=torch.bool)
    seen[1, 1] = True
    for gradient, item in ((distributed.grad, 0), (vision.grad, OWNERS[0])):
        assert gradient is not None
        assert torch.equal(gradient[item].abs().sum(0) > 0, seen)
        assert gradient.abs().sum() == gradient[item].abs().sum()
