"""The vocabulary trained on the data, and expressions as token ids."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from s2rm.config.params import Language, Params
from s2rm.data.tokenizer import build_tokenizer, tokenize

EXPRESSIONS = [
    "the red circle",
    "the blue triangle",
    "the green triangle left of the red circle",
    "a large yellow star above the small square",
    "the second ring from the right, near a cross",
] * 3


@pytest.fixture(scope="module")
def language(tiny_params: Callable[..., Params]) -> Language:
    return tiny_params("language.vocabulary=150").language


def test_words_of_the_data_are_known(language: Language) -> None:
    tokenizer = build_tokenizer(EXPRESSIONS, language)
    assert len(tokenizer) <= 150
    (ids,) = tokenize(tokenizer, ["The RED circle,"], 24)
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "the", "red", "circle", ",", "[SEP]"]
    (ids,) = tokenize(tokenizer, ["circles"], 24)
    assert tokenizer.convert_ids_to_tokens(ids)[1:3] == ["circle", "##s"]  # put together from known parts
    (ids,) = tokenize(tokenizer, ["the 象 ##e"], 24)
    assert tokenizer.unk_token_id in ids


def test_special_tokens(language: Language) -> None:
    tokenizer = build_tokenizer(EXPRESSIONS, language)
    assert tokenizer.pad_token_id == 0
    assert set(tokenizer.all_special_tokens) == {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}
    assert tokenize(tokenizer, [" "], 24) == [[tokenizer.cls_token_id, tokenizer.sep_token_id]]


@pytest.mark.parametrize("tokens", [4, 6, 24])
def test_expressions_are_cut(language: Language, tokens: int) -> None:
    tokenizer = build_tokenizer(EXPRESSIONS, language)
    whole = tokenize(tokenizer, EXPRESSIONS, 512)
    for ids, uncut in zip(tokenize(tokenizer, EXPRESSIONS, tokens), whole, strict=True):
        assert len(ids) == min(tokens, len(uncut))
        assert ids[:-1] == uncut[: len(ids) - 1]
        assert ids[-1] == tokenizer.sep_token_id


def test_nothing_to_tokenize(language: Language) -> None:
    assert tokenize(build_tokenizer(EXPRESSIONS, language), [], 24) == []


def test_the_vocabulary_is_the_same_in_every_process(language: Language, tmp_path: Path) -> None:
    """A training that is continued trains the vocabulary again: ids must be those of its weights."""
    code = (
        "import json, sys; from s2rm.data.tokenizer import build_tokenizer; "
        "from s2rm.config.params import Language; "
        "language, expressions = json.load(sys.stdin); "
        "print(json.dumps(build_tokenizer(expressions, Language(**language)).get_vocab(), sort_keys=True))"
    )
    given = json.dumps([language.model_dump(), EXPRESSIONS])
    result = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True
    )
    vocabulary = build_tokenizer(EXPRESSIONS, language).get_vocab()
    assert json.loads(result.stdout) == vocabulary
    assert build_tokenizer(EXPRESSIONS, language).get_vocab() == vocabulary
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
