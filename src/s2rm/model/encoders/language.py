"""The language encoder: a BERT of transformers, pretrained or small and from scratch.

Shapes: N expressions, T tokens, D width of the text.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel

from s2rm.config.params import Language
from s2rm.core.errors import UserError

PRETRAINED_POSITIONS, PRETRAINED_TYPES = 512, 2  # of BERT-base
# A published BERT also holds the heads that it was pretrained with.
LEFT_OUT = ("pooler.", "bert.pooler.", "cls.")


@dataclass(frozen=True)
class LanguageFeatures:
    """The encoded expressions of a batch."""

    words: Tensor
    """(N, T, D)."""
    word_mask: Tensor
    """(N, T), boolean: true for tokens, false for padding."""
    sentence: Tensor
    """(N, D)."""


class LanguageEncoder(nn.Module):
    """Encode each expression as word vectors and a sentence vector.

    The sentence vector is the mean of the words [ours], which needs no pretrained pooler.
    """

    def __init__(self, bert: BertModel) -> None:
        """Wrap a BERT without a pooler."""
        super().__init__()
        self.bert = bert
        self.width: int = bert.config.hidden_size

    def freeze(self, layers: int) -> None:
        """Take the embeddings and the first `layers` layers out of the training; 0 freezes nothing.

        Raises:
            UserError: there are not as many layers.
        """
        found = self.bert.encoder.layer
        if layers > len(found):
            raise UserError(f"language.frozen is {layers}: this BERT has {len(found)} layers")
        for module in [self.bert.embeddings, *found[:layers]] if layers else []:
            module.requires_grad_(False)

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> LanguageFeatures:
        """Encode N expressions.

        Args:
            token_ids: (N, T).
            attention_mask: (N, T), 1 for tokens, 0 for padding.
        """
        mask = attention_mask.bool()
        # Of four dimensions, so that transformers does not ask the device whether anything is padding.
        between = mask[:, None, None].expand(-1, 1, mask.shape[1], -1)  # (N, 1, T, T)
        words = self.bert(input_ids=token_ids, attention_mask=between).last_hidden_state  # (N, T, D)
        weights = mask[..., None].to(words.dtype)
        sentence = (words * weights).sum(1) / weights.sum(1)
        return LanguageFeatures(words=words, word_mask=mask, sentence=sentence)


def random_bert_config(language: Language, *, vocabulary: int, pad_token_id: int) -> BertConfig:
    """Return the configuration of a BERT with random weights.

    Args:
        language: its width, depth and dropout. Where it names a pretrained model, the numbers of positions
            and token types are those of BERT-base.
        vocabulary: number of token ids.
        pad_token_id: id of the padding token.
    """
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
    """Read config.json in `folder`.

    Raises:
        UserError: the file is missing or cannot be read, or describes another kind of model.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # huggingface_hub's own for a value of a wrong type, among others
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} does not contain a BERT model: {reason}") from None
    if not isinstance(config, BertConfig):
        raise UserError(
            f"{folder} contains a {config.model_type} model, not a BERT: set another language.pretrained"
        )
    return config


def build_bert(config: BertConfig, weights: Path | None = None) -> BertModel:
    """Build a BERT without its pooler.

    Args:
        config: its sizes.
        weights: a folder that transformers reads; None leaves the weights random.

    Raises:
        UserError: the folder cannot be read, lacks a weight of this BERT, or holds one that this BERT does
            not have (other than `LEFT_OUT`).
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
    except Exception as error:  # any, where config.json and the weights do not fit
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{weights} does not contain a BERT model: {reason}") from None
    bert, found = loaded
    missing = sorted(found["missing_keys"])  # transformers would leave them random
    if missing:
        raise UserError(f"{weights} is missing {len(missing)} weights of BERT (e.g. {missing[0]})")
    unused = sorted(key for key in found["unexpected_keys"] if not key.startswith(LEFT_OUT))
    if unused:
        raise UserError(f"{weights} has {len(unused)} weights that BERT does not have (e.g. {unused[0]})")
    assert isinstance(bert, BertModel)
    return bert
