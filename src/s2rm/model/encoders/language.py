"""The language encoder: a BERT of transformers, pretrained or small and from scratch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel

from s2rm.config.params import Language
from s2rm.core.errors import UserError

PRETRAINED_POSITIONS, PRETRAINED_TYPES = 512, 2  # of BERT-base
# What a published BERT has beside the encoder: what it was pretrained with.
LEFT_OUT = ("pooler.", "bert.pooler.", "cls.")


@dataclass(frozen=True)
class LanguageFeatures:
    """The N expressions of a batch, encoded."""

    words: Tensor  # (N, T, D)
    word_mask: Tensor  # (N, T), true for words, false for padding
    sentence: Tensor  # (N, D)


class LanguageEncoder(nn.Module):
    """Token ids (N, T) → words (N, T, D) and a sentence vector (N, D).

    The sentence vector is the mean of the words (ours): it needs no pretrained pooler.
    """

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert
        self.width: int = bert.config.hidden_size

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> LanguageFeatures:
        """attention_mask: (N, T), 1 for words, 0 for padding."""
        words = self.bert(input_ids=token_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.bool()
        weights = mask[..., None].to(words.dtype)
        sentence = (words * weights).sum(1) / weights.sum(1)
        return LanguageFeatures(words=words, word_mask=mask, sentence=sentence)


def random_bert_config(language: Language, *, vocabulary: int, pad_token_id: int) -> BertConfig:
    """A BERT as wide and deep as params.yaml's `language` says, also where that is pretrained."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=language.hidden,
        num_hidden_layers=language.layers,
        num_attention_heads=language.heads,
        intermediate_size=4 * language.hidden,
        hidden_dropout_prob=language.dropout,
        attention_probs_dropout_prob=language.dropout,
        max_position_embeddings=(
            max(language.tokens, 32) if language.pretrained is None else PRETRAINED_POSITIONS
        ),
        pad_token_id=pad_token_id,
        type_vocab_size=1 if language.pretrained is None else PRETRAINED_TYPES,
    )


def pretrained_bert_config(folder: Path) -> BertConfig:
    """What config.json in `folder` says; `UserError` where it is of another kind of model."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no BERT: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(config, BertConfig):
        raise UserError(f"{folder} holds a {config.model_type}, no BERT: set another language.pretrained")
    return config


def build_bert(config: BertConfig, weights: Path | None = None) -> BertModel:
    """A BERT without its pooler; `weights` is a folder that transformers reads, None leaves it random.

    Every weight comes from there and, but for `LEFT_OUT`, every one there is used; else `UserError`.
    """
    if weights is None:
        return BertModel(config, add_pooling_layer=False)
    try:
        loaded: Any = BertModel.from_pretrained(
            weights,
            config=config,
            add_pooling_layer=False,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{weights} holds no BERT: {' '.join(str(error).split())[:200]}") from None
    bert, found = loaded
    missing = sorted(found["missing_keys"])  # transformers leaves them random
    if missing:
        raise UserError(f"{weights} has no weights for {len(missing)} parameters, {missing[0]} among them")
    unused = sorted(key for key in found["unexpected_keys"] if not key.startswith(LEFT_OUT))
    if unused:
        raise UserError(f"{weights} has {len(unused)} weights that a BERT has not, {unused[0]} among them")
    assert isinstance(bert, BertModel)
    return bert
