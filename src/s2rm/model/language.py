"""The language encoder: a BERT of transformers, pretrained or small and from scratch."""

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from s2rm.model.fusion import LanguageFeatures


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


def small_bert_config(
    *, vocabulary: int, hidden: int, layers: int, heads: int, dropout: float, tokens: int, pad_token_id: int
) -> BertConfig:
    """A BERT to be trained from scratch, as wide and deep as params.yaml's `language` says."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=max(tokens, 32),
        pad_token_id=pad_token_id,
        type_vocab_size=1,
    )


def build_bert(config: BertConfig, pretrained: str | None = None) -> BertModel:
    """A BERT without its pooler; `pretrained` names the weights on the Hugging Face Hub."""
    if pretrained is not None:
        return BertModel.from_pretrained(pretrained, add_pooling_layer=False, dtype=torch.float32)
    return BertModel(config, add_pooling_layer=False)
