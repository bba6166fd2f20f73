"""Expressions to token ids: BERT's own tokenizer, or a WordPiece vocabulary trained on the data."""

from collections.abc import Iterable

from tokenizers.implementations import BertWordPieceTokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from s2rm.params import Language

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def build_tokenizer(expressions: Iterable[str], language: Language) -> PreTrainedTokenizerBase:
    """The pretrained tokenizer that `language.pretrained` names, or one trained on `expressions`."""
    if language.pretrained is not None:
        return AutoTokenizer.from_pretrained(language.pretrained)
    wordpiece = BertWordPieceTokenizer(lowercase=True)
    wordpiece.train_from_iterator(
        expressions,
        vocab_size=language.vocabulary,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS.values()),
    )
    return PreTrainedTokenizerFast(tokenizer_object=wordpiece._tokenizer, **SPECIAL_TOKENS)


def tokenize(tokenizer: PreTrainedTokenizerBase, expressions: list[str], tokens: int) -> list[list[int]]:
    """Token ids of each expression, with [CLS] and [SEP], cut at `tokens`."""
    return tokenizer(expressions, truncation=True, max_length=tokens)["input_ids"] if expressions else []
