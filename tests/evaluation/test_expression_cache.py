"""Every distinct expression is encoded once, in batches of equal length, as if it were alone."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from s2rm.data.processor import Processor
from s2rm.evaluation import expression_cache
from s2rm.evaluation.expression_cache import EncodedExpressions
from s2rm.model.s2rm import S2RM

LEFT, RED, LONG = [2, 7, 3], [2, 9, 3], [2, 8, 9, 7, 11, 3]
TABLE = [LONG, LEFT, RED, LEFT, LEFT, LONG]


@pytest.fixture(scope="module")
def processor(tiny_tokenizer: PreTrainedTokenizerBase) -> Processor:
    return Processor(tiny_tokenizer, image_size=64, max_tokens=12, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(scope="module")
def model(build_tiny: Callable[..., S2RM]) -> S2RM:
    return build_tiny().float().eval()


def encode(model: S2RM, processor: Processor) -> EncodedExpressions:
    with torch.inference_mode():
        return EncodedExpressions(model, TABLE, processor, torch.device("cpu"))


@pytest.mark.parametrize("rows", [[0], [1, 2], [4, 0, 3, 5]])
def test_features_equal_those_of_each_expression_alone(
    model: S2RM, processor: Processor, rows: list[int]
) -> None:
    found = encode(model, processor)(rows)
    assert found.words.shape[1] == max(len(TABLE[row]) for row in rows)  # no padding beyond the longest
    for row, words, mask, sentence in zip(rows, found.words, found.word_mask, found.sentence, strict=True):
        ids = torch.tensor([TABLE[row]])
        with torch.inference_mode():
            alone = model.encode_expressions(ids, torch.ones_like(ids))
        assert alone is not None
        assert mask.tolist() == [True] * len(TABLE[row]) + [False] * (len(mask) - len(TABLE[row]))
        torch.testing.assert_close(words[mask], alone.words[0])
        torch.testing.assert_close(sentence, alone.sentence[0])


def test_each_expression_is_encoded_once_with_those_of_its_length(
    model: S2RM, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expression_cache, "BATCH", 2)
    seen: list[list[list[int]]] = []
    original = model.encode_expressions

    def watched(ids: torch.Tensor, mask: torch.Tensor) -> object:
        seen.append([row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)])
        return original(ids, mask)

    monkeypatch.setattr(model, "encode_expressions", watched)
    encode(model, processor)
    assert seen == [[LEFT, RED], [LONG]]
