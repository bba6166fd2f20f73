"""The vocabulary trained on the data, and expressions as token ids."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from s2rm.config.params import Language, Params
from s2rm.core.errors import UserError
from s2rm.data.coverage import Coverage, cover, describe_losses
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


@pytest.mark.parametrize(
    "expressions", [["?"], ["... !", "--"], ["🔴"], ["", " "], ["\u200b"], ["※ → ★"]], ids=ascii
)
def test_expressions_without_a_word_are_refused(language: Language, expressions: list[str]) -> None:
    with pytest.raises(UserError, match="has a letter or a digit") as caught:
        build_tokenizer(expressions * 3, language)
    assert "\n" not in str(caught.value)


def test_a_word_of_another_script_is_learnt(language: Language) -> None:
    tokenizer = build_tokenizer(["красный круг", "左边的圆圈", "الدائرة"] * 3, language)
    assert cover(tokenizer, ["красный круг"], 24) == [Coverage(2, [], [], 2)]


def test_what_is_lost_of_an_expression_is_told(language: Language) -> None:
    tokenizer = build_tokenizer(EXPRESSIONS, language)
    assert describe_losses(tokenizer, ["The RED circle,", "circles", "of the ring"], 24) == []
    assert describe_losses(tokenizer, [], 24) == []
    unknown, spelt, cut = describe_losses(
        tokenizer, ["the 象 left of 象", "the xyz", "a large yellow star above the small square"], 8
    )
    assert unknown == "'the 象 left of 象': the model's vocabulary does not know '象'"
    assert spelt == "'the xyz': the model's vocabulary does not know 'xyz'"
    assert cut == (
        "'a large yellow star above the small square': cut after 6 of 8 words: the model reads 8 tokens"
    )


@pytest.mark.parametrize(
    ("tokens", "expressions", "said"),
    [
        (24, EXPRESSIONS, []),
        (24, [*EXPRESSIONS, *(f"{a}{b}" for a in "qxzj" for b in "vwky")], ["only letter by letter"]),
        (8, EXPRESSIONS, ["are cut at language.tokens=8"]),
        (24, [*EXPRESSIONS, "\u200b"], ["have no word that is left"]),
    ],
)
def test_a_notable_loss_in_the_training_is_one_line(
    language: Language,
    caplog: pytest.LogCaptureFixture,
    tokens: int,
    expressions: list[str],
    said: list[str],
) -> None:
    build_tokenizer(expressions, language.model_copy(update={"tokens": tokens, "vocabulary": 110}))
    assert len(caplog.messages) == len(said)
    for message, part in zip(caplog.messages, said, strict=True):
        assert part in message
        assert "\n" not in message
