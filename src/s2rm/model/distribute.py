"""S²RM 1: distributing the language feature [paper].

"First generate a constraint-weak yet distribution-aware language feature" [paper]: a coarse
language-aware vision feature is the query, the words are key and value, and the result lies on
the H×W grid [summary]. Constraint-weak: the result is not multiplied into the vision map, and no
loss is put on the affinity.

    Q = W_q V ⊙ (1 + W_s s)            the cheap modulation by the sentence is ours
    L = norm(W_o softmax(Q Kᵀ / √C) E_v)
"""

import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.expand import expand_to_expressions
from s2rm.model.norm import group_norm


class DistributeByAttention(nn.Module):
    """Each position gathers the words that concern it (`fusion.distribution=attention`)."""

    def __init__(self, width: int, language_width: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(width, width, 1)
        self.modulation = nn.Linear(language_width, width)
        self.key_value = nn.Linear(language_width, 2 * width)
        self.out = nn.Sequential(nn.Conv2d(width, width, 1), group_norm(width))

    def forward(
        self, vision: Tensor, words: Tensor, word_mask: Tensor, sentence: Tensor, expression_to_image: Tensor
    ) -> Tensor:
        """
        Args:
            vision: (B, C, H, W).
            words: (N, T, D); word_mask: (N, T), true for words, false for padding.
            sentence: (N, D).
            expression_to_image: (N,), which of the B images each expression is about.

        Returns: the distributed language map L, (N, C, H, W).
        """
        height, width = vision.shape[-2:]
        query = expand_to_expressions(self.query(vision), expression_to_image)
        query = query.flatten(2).transpose(1, 2)  # (N, HW, C)
        query = query * (1 + self.modulation(sentence)[:, None])
        key, value = self.key_value(words).chunk(2, dim=-1)  # (N, T, C) each
        gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=word_mask[:, None])
        return self.out(gathered.transpose(1, 2).unflatten(2, (height, width)))


class DistributeByTiling(nn.Module):
    """The sentence vector at each position: the ablation's baseline (`fusion.distribution=tile`)."""

    def __init__(self, width: int, language_width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(language_width, width), nn.LayerNorm(width))

    def forward(
        self, vision: Tensor, words: Tensor, word_mask: Tensor, sentence: Tensor, expression_to_image: Tensor
    ) -> Tensor:
        """Shapes as for `DistributeByAttention`."""
        tile = self.project(sentence)[:, :, None, None]
        return tile.expand(-1, -1, *vision.shape[-2:])
