"""Turns expressions into token ids, by BERT's own tokenizer or a WordPiece vocabulary trained on the data.

Shapes: N expressions, T tokens.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from s2rm.config.params import Language
from s2rm.core.errors import UserError

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def build_tokenizer(
    expressions: Iterable[str], language: Language, pretrained: Path | None = None
) -> PreTrainedTokenizerBase:
    """Load a pretrained tokenizer, or train one.

    Args:
        expressions: what it is trained on where `pretrained` is None.
        language: the parameters of the language encoder.
        pretrained: a folder that transformers reads a tokenizer from.

    Raises:
        UserError: the folder contains no tokenizer, or is not given although `language.pretrained` is set.
    """
    if pretrained is not None:
        try:
            return AutoTokenizer.from_pretrained(pretrained, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{pretrained} does not contain a tokenizer: {reason}") from None
    if language.pretrained is not None:
        raise UserError(f"language.pretrained is {language.pretrained}, but its tokenizer is not given")
    expressions = list(expressions)
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
    return PreTrainedTokenizerFast(tokenizer_object=wordpiece._tokenizer, **SPECIAL_TOKENS)


def _inner_letters(wordpiece: BertWordPieceTokenizer, expressions: list[str]) -> list[str]:
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
