"""Turns expressions into token ids: by the text encoder's own tokenizer, or one trained on the data.

Shapes: N expressions, T tokens.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from s2rm.config.params import Language
from s2rm.config.text_models import KNOWN, count_positions, find_text_config
from s2rm.core.errors import UserError
from s2rm.core.files import load_json
from s2rm.data.coverage import check_training

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

VOCABULARIES = ("tokenizer.json", "vocab.txt")  # one of them holds the vocabulary
PADDING = 128  # embeddings beyond the vocabulary that some models have, for speed


def build_tokenizer(
    expressions: Sequence[str], language: Language, pretrained: Path | None = None
) -> PreTrainedTokenizerBase:
    """Load a pretrained tokenizer, or train one.

    Args:
        expressions: those of the training; a vocabulary is learnt from them where `pretrained` is None.
        language: the parameters of the language encoder.
        pretrained: a folder that transformers reads a tokenizer from.

    Raises:
        UserError: the folder contains no tokenizer, one of another model, or one that does not know most of
            the words; or the folder is not given although `language.pretrained` is set.
    """
    if pretrained is not None:
        tokenizer = load_tokenizer(pretrained)
        _check_fit(tokenizer, pretrained, language)
        check_training(tokenizer, expressions, language.tokens, f"the tokenizer of {language.pretrained}")
        return tokenizer
    if language.pretrained is not None:
        raise UserError(f"language.pretrained is {language.pretrained}, but its tokenizer is not given")
    trained = BertWordPieceTokenizer(lowercase=True)
    # The trainer numbers the inner letters in the order of a hash table, which has another seed in every
    # process, and breaks ties by these numbers. Given first and sorted, they make it repeatable.
    special = list(SPECIAL_TOKENS.values())
    trained.train_from_iterator(
        expressions,
        vocab_size=language.vocabulary,
        min_frequency=2,
        show_progress=False,
        special_tokens=special + _inner_letters(trained, expressions),
    )
    # Built again from its vocabulary: there inner letters are not special, and [CLS] and [SEP] are added.
    wordpiece = BertWordPieceTokenizer(trained.get_vocab(), lowercase=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=wordpiece._tokenizer, **SPECIAL_TOKENS)
    check_training(tokenizer, expressions, language.tokens, f"language.vocabulary={language.vocabulary}")
    return tokenizer


def load_tokenizer(folder: Path, kind: Any = AutoTokenizer) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder, with the special tokens that a model needs.

    Args:
        folder: holds the tokenizer's files.
        kind: class of transformers that reads them.

    Raises:
        UserError: the folder has no vocabulary, or its files cannot be read as a fast tokenizer.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):
        files = " or ".join(VOCABULARIES)
        raise UserError(f"{folder} does not contain a tokenizer: {files} is missing, place it there")
    try:
        tokenizer: Any = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenize(tokenizer, ["a trial"], 4)  # a setting of a wrong type shows only when it is used
    except Exception as error:  # the Rust library raises plain exceptions, transformers whatever it meets
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{folder} does not contain a tokenizer: {reason}") from None
    if not tokenizer.is_fast:
        raise UserError(f"{folder} contains a tokenizer that has no fast form: {type(tokenizer).__name__}")
    if tokenizer.pad_token_id is None or not tokenizer.num_special_tokens_to_add():
        raise UserError(
            f"{folder} contains a tokenizer without a padding token, or that marks no beginning and end of a "
            f"text: it is not one of {KNOWN}"
        )
    return tokenizer


def _check_fit(tokenizer: PreTrainedTokenizerBase, folder: Path, language: Language) -> None:
    """Compare a pretrained tokenizer with the model beside it.

    Raises:
        UserError: the model has fewer embeddings or positions than the tokenizer or `language.tokens` needs.
    """
    config = find_text_config(load_json(folder / "config.json")) or {}
    embeddings, positions = config.get("vocab_size"), count_positions(config)
    if type(embeddings) is not int or not positions:
        raise UserError(
            f"{folder / 'config.json'} is not that of a {KNOWN}: model_type, vocab_size or "
            "max_position_embeddings is missing"
        )
    ids = max(tokenizer.get_vocab().values(), default=0) + 1
    if ids > embeddings:
        raise UserError(
            f"the tokenizer in {folder} has {ids:,} token ids, the model beside it {embeddings:,}: they "
            "belong to two models; place the files of one"
        )
    if ids < embeddings - PADDING:
        logger.warning(
            "the tokenizer in %s has %d token ids, the model beside it %d: check that they belong together",
            folder, ids, embeddings,
        )  # fmt: skip
    if language.tokens > positions:
        raise UserError(
            f"language.tokens is {language.tokens}: {language.pretrained} reads at most {positions} tokens"
        )


def _inner_letters(wordpiece: BertWordPieceTokenizer, expressions: Iterable[str]) -> list[str]:
    """Return the tokens of all letters that are not the first of a word, sorted."""
    letters: set[str] = set()
    for expression in expressions:
        normal = wordpiece.normalizer.normalize_str(expression)
        for word, _ in wordpiece.pre_tokenizer.pre_tokenize_str(normal):
            letters |= set(word[1:])
    return [f"##{letter}" for letter in sorted(letters)]


def tokenize(tokenizer: PreTrainedTokenizerBase, expressions: list[str], tokens: int) -> list[list[int]]:
    """Return the token ids of each expression, with [CLS] and [SEP], truncated to `tokens`."""
    return tokenizer(expressions, truncation=True, max_length=tokens)["input_ids"] if expressions else []


def pad(token_ids: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Pad N expressions to the length T of the longest.

    Args:
        token_ids: of each expression.
        pad_token_id: id of the padding token.

    Returns:
        Token ids and attention mask (1 for tokens, 0 for padding), (N, T) each.
    """
    tensors = [torch.tensor(ids) for ids in token_ids]
    padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=pad_token_id)
    lengths = torch.tensor([len(ids) for ids in token_ids])
    return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).long()
