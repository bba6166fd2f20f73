"""Finds what a tokenizer loses of expressions: words that its vocabulary does not know, and ends cut off."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from s2rm.core.errors import UserError

logger = logging.getLogger(__name__)

MOST_UNKNOWN = 0.5  # of the words of training: beyond it the vocabulary is another language's
SAID_UNKNOWN = 0.05
ENDLESS = 10**6  # tokens
SAID_CUT = 0.01  # of the expressions
CHECKED = 50_000  # expressions of a training at most, evenly spread


@dataclass(frozen=True)
class Coverage:
    """What becomes of one expression."""

    words: int
    """Number of words; punctuation counts."""
    unknown: list[str]
    """The words that are replaced by the unknown token."""
    spelt: list[str]
    """The words that the vocabulary knows neither whole nor in parts of two letters or more."""
    kept: int
    """Number of words that are left when the expression is cut."""

    @property
    def cut(self) -> bool:
        """Whether the end of the expression is cut off."""
        return self.kept < self.words


def cover(tokenizer: PreTrainedTokenizerBase, expressions: Sequence[str], tokens: int) -> list[Coverage]:
    """Return what becomes of each expression.

    Args:
        tokenizer: a fast tokenizer.
        expressions: the texts.
        tokens: length at which they are cut, in tokens with [CLS] and [SEP].
    """
    if not expressions:
        return []
    covered = []
    room = tokens - tokenizer.num_special_tokens_to_add()
    # With a length, though nothing is cut here, transformers does not warn of long texts.
    batch = tokenizer(list(expressions), add_special_tokens=False, truncation=False, max_length=ENDLESS)
    encodings = batch.encodings or []
    for expression, encoding in zip(expressions, encodings, strict=True):
        pieces: dict[int, list[int]] = {}
        for token_id, word in zip(encoding.ids, encoding.word_ids, strict=True):
            pieces.setdefault(word, []).append(token_id)
        unknown, spelt = [], []
        for word, ids in pieces.items():
            start, end = encoding.word_to_chars(word)
            if tokenizer.unk_token_id in ids:
                unknown.append(expression[start:end])
            elif len(ids) > 1 and 2 * len(ids) > end - start:
                spelt.append(expression[start:end])
        kept = len(set(encoding.word_ids[:room]))
        covered.append(Coverage(len(pieces), unknown, spelt, kept))
    return covered


def check_training(
    tokenizer: PreTrainedTokenizerBase, expressions: Sequence[str], tokens: int, source: str
) -> None:
    """Say in one line each where a notable share of the training expressions is cut or not known.

    Args:
        tokenizer: the tokenizer of the training.
        expressions: those that are trained on; of more than `CHECKED` only so many are looked at.
        tokens: length at which they are cut, in tokens with [CLS] and [SEP].
        source: what the tokenizer is, for messages.

    Raises:
        UserError: more than half of the words are unknown, or no expression has a letter or a digit.
    """
    if len(expressions) > CHECKED:
        expressions = [expressions[i] for i in np.linspace(0, len(expressions) - 1, CHECKED, dtype=int)]
    if not any(character.isalnum() for expression in expressions for character in expression):
        raise UserError(
            f"none of the {len(expressions):,} training expressions has a letter or a digit (first: "
            f"{expressions[0]!r}): check preprocess.sentence and the data"
        )
    covered = cover(tokenizer, expressions, tokens)
    words = sum(each.words for each in covered)
    unknown = [word for each in covered for word in each.unknown]
    if not words or len(unknown) > MOST_UNKNOWN * words:
        first = f" (first: {unknown[0]!r})" if unknown else ""
        raise UserError(
            f"{source} does not know {len(unknown):,} of {words:,} words of the training expressions{first}: "
            "they are of another language or script, or the tokenizer's files belong to another model"
        )
    unknown += [word for each in covered for word in each.spelt]
    if len(unknown) > SAID_UNKNOWN * words:
        logger.warning(
            "%s knows %d of %d words of the training expressions (%.1f %%) not at all or only letter by "
            "letter (first: %r)",
            source, len(unknown), words, 100 * len(unknown) / words, unknown[0],
        )  # fmt: skip
    empty = [text for text, each in zip(expressions, covered, strict=True) if not each.words]
    if empty:
        logger.warning(
            "%d of %d training expressions have no word that is left (first: %r)",
            len(empty), len(covered), empty[0],
        )  # fmt: skip
    cut = [text for text, each in zip(expressions, covered, strict=True) if each.cut]
    if len(cut) > SAID_CUT * len(covered):
        logger.warning(
            "%d of %d training expressions (%.1f %%) are cut at language.tokens=%d (first: %r): raise it",
            len(cut), len(covered), 100 * len(cut) / len(covered), tokens, cut[0],
        )  # fmt: skip


def describe_losses(tokenizer: PreTrainedTokenizerBase, expressions: Sequence[str], tokens: int) -> list[str]:
    """Return one line for each loss in expressions that a trained model is asked about; none for most.

    Args:
        tokenizer: the tokenizer of the model.
        expressions: the texts.
        tokens: length at which they are cut, in tokens with [CLS] and [SEP].
    """
    lines = []
    for expression, each in zip(expressions, cover(tokenizer, expressions, tokens), strict=True):
        lost = [*each.unknown, *each.spelt]
        if lost:
            named = ", ".join(map(repr, dict.fromkeys(lost)))
            lines.append(f"{expression!r}: the model's vocabulary does not know {named}")
        if each.cut:
            lines.append(
                f"{expression!r}: cut after {each.kept} of {each.words} words: the model reads {tokens} "
                "tokens"
            )
    return lines
