"""The distribution against its formulas, expression by expression and position by position."""

import pytest
import torch
from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.fusion.distribute import DistributeByAttention

WIDTH, LANGUAGE_WIDTH = 8, 6
OWNERS = torch.tensor([1, 0, 1])
LENGTHS = (4, 1, 3)


def apply(layer: nn.Module, x: Tensor) -> Tensor:
    """A pointwise layer on one vector."""
    return layer.weight.flatten(1) @ x + layer.bias


def plainly(
    layers: DistributeByAttention, query_by: str, vision: Tensor, words: Tensor, sentence: Tensor
) -> Tensor:
    """One expression: vision (C, H, W), words (T, D) without padding, sentence (D,) → (C, H, W)."""
    keys, values = torch.stack([apply(layers.key_value, word) for word in words]).chunk(2, 1)

    def attention(query: Tensor) -> Tensor:
        return ((keys @ query) / WIDTH**0.5).softmax(0)

    gathered = torch.empty_like(vision)
    for row in range(vision.shape[1]):
        for column in range(vision.shape[2]):
            plain = apply(layers.query, vision[:, row, column])
            aware = sentence if query_by == "sentence" else attention(plain) @ words
            weights = attention(plain * (1 + apply(layers.modulation, aware)))
            gathered[:, row, column] = apply(layers.out[0], weights @ values)
    return layers.out[1](gathered[None])[0]


@pytest.mark.parametrize("query", ["sentence", "word"])
def test_the_words_are_gathered_by_the_formulas(query: str) -> None:
    torch.manual_seed(0)
    layers = DistributeByAttention(WIDTH, LANGUAGE_WIDTH, query=query).double()
    vision = torch.randn(2, WIDTH, 3, 2, dtype=torch.float64)
    words = torch.randn(3, 4, LANGUAGE_WIDTH, dtype=torch.float64)
    sentence = torch.randn(3, LANGUAGE_WIDTH, dtype=torch.float64)
    mask = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
    expected = torch.stack(
        [
            plainly(layers, query, vision[owner], words[n, : LENGTHS[n]], sentence[n])
            for n, owner in enumerate(OWNERS)
        ]
    )
    found = layers(vision, LanguageFeatures(words, mask, sentence), OWNERS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_a_single_word_that_is_the_sentence_is_the_same_query() -> None:
    torch.manual_seed(0)
    by_sentence, by_word = (
        DistributeByAttention(WIDTH, LANGUAGE_WIDTH, query=query) for query in ("sentence", "word")
    )
    by_word.load_state_dict(by_sentence.state_dict())
    words = torch.randn(3, 1, LANGUAGE_WIDTH)
    language = LanguageFeatures(words, torch.ones(3, 1, dtype=torch.bool), words[:, 0])
    inputs = torch.randn(2, WIDTH, 3, 2), language, OWNERS
    torch.testing.assert_close(by_word(*inputs), by_sentence(*inputs))
