"""S²RM 1: distributing the language feature [paper].

"First generate a constraint-weak yet distribution-aware language feature" [paper]: a coarse
language-aware vision feature is the query, the words are key and value, and the result lies on
the H×W grid [summary]. Constraint-weak: the result is not multiplied into the vision map, and no
loss is put on the affinity.

    Q = W_q V ⊙ (1 + W_s m)            the cheap modulation [ours]
    L = norm(W_o softmax(Q Kᵀ / √C) E_v)

What makes the vision feature language-aware is m [ours]: the sentence vector s, the same at each position
(`fusion.query=sentence`); or words, gathered by each position of the plain map in a first, coarse
attention (`word`), which needs no further weights:

    m = softmax(W_q V Kᵀ / √C) E

Shapes: B images, N expressions, C channels, H×W positions, T tokens, D width of the text.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.layers import Pointwise, expand_to_expressions, group_norm


class DistributeByAttention(nn.Module):
    """Let each position gather the words that concern it (`fusion.distribution=attention`)."""

    def __init__(self, width: int, language_width: int, *, query: str) -> None:
        """Build the attention.

        Args:
            width: channels C.
            language_width: D.
            query: "sentence" or "word": what modulates the query.
        """
        super().__init__()
        self.query_by_word = query == "word"
        self.query = Pointwise(width, width)
        self.modulation = nn.Linear(language_width, width)
        self.key_value = nn.Linear(language_width, 2 * width)
        self.out = nn.Sequential(Pointwise(width, width), group_norm(width))

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        """Lay the words out over the map.

        Args:
            vision: (B, C, H, W).
            language: the N expressions.
            expression_to_image: (N,), the image that each expression is about, in 0..B−1.

        Returns:
            The distributed language map L, (N, C, H, W).
        """
        height, width = vision.shape[-2:]
        query = expand_to_expressions(self.query(vision), expression_to_image)
        query = query.flatten(2).transpose(1, 2)  # (N, HW, C)
        key, value = self.key_value(language.words).chunk(2, dim=-1)  # (N, T, C) each
        mask = language.word_mask[:, None]
        if self.query_by_word:  # averaging commutes with W_s, which keeps the values C wide
            modulation = self.modulation(language.words)
            modulation = F.scaled_dot_product_attention(query, key, modulation, attn_mask=mask)  # (N, HW, C)
        else:
            modulation = self.modulation(language.sentence)[:, None]  # (N, 1, C)
        query = query * (1 + modulation)
        gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)  # (N, HW, C)
        return self.out(gathered.transpose(1, 2).unflatten(2, (height, width)))


class DistributeByTiling(nn.Module):
    """Put the sentence vector at each position, the ablation's baseline (`fusion.distribution=tile`)."""

    def __init__(self, width: int, language_width: int) -> None:
        """Build the projection from D = `language_width` to C = `width`."""
        super().__init__()
        self.project = nn.Sequential(nn.Linear(language_width, width), nn.LayerNorm(width))

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        """Tile the sentence over the map; shapes as for `DistributeByAttention.forward`."""
        tile = self.project(language.sentence)[:, :, None, None]  # (N, C, 1, 1)
        return tile.expand(-1, -1, *vision.shape[-2:])
