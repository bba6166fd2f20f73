"""The language encoder: a BERT or another text encoder of transformers, pretrained or from scratch.

Shapes: N expressions, T tokens, D width of the text.
"""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from s2rm.core.errors import UserError
from s2rm.model.encoders.text_encoders import KINDS


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

    def __init__(self, text_model: PreTrainedModel) -> None:
        """Wrap one of the text encoders of `s2rm.model.encoders.text_encoders`."""
        super().__init__()
        self.text_model = text_model
        self.kind = KINDS[text_model.config.model_type]
        self.width: int = text_model.config.hidden_size

    def freeze(self, layers: int) -> None:
        """Take the embeddings and the first `layers` layers out of the training; 0 freezes nothing.

        Raises:
            UserError: there are not as many layers.
        """
        found = cast(nn.ModuleList, self.text_model.get_submodule(self.kind.layers))
        if layers > len(found):
            raise UserError(f"language.frozen is {layers}: this text model has {len(found)} layers")
        for module in [self.text_model.get_submodule("embeddings"), *found[:layers]] if layers else []:
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
        if self.kind.causal:
            between = between.tril()
        words = self.text_model(input_ids=token_ids, attention_mask=between).last_hidden_state  # (N, T, D)
        weights = mask[..., None].to(words.dtype)
        sentence = (words * weights).sum(1) / weights.sum(1)
        return LanguageFeatures(words=words, word_mask=mask, sentence=sentence)
