"""S²RM 1: distributing the language feature [paper].

"First generate a constraint-weak yet distribution-aware language feature" [paper]: a coarse
language-aware vision feature is the query, the words are key and value, and the result lies on
the H×W grid [summary].

    Q = W_q V ⊙ (1 + m)                    the cheap modulation [ours]
    a_t = σ(Q k_tᵀ / √C + b)               the affinity of word t, with a learnt scalar b [ours]
    L = norm(W_o Σ_t a_t v_t)
    L ← norm(L + W_2 (W_1 x ⊙ W_3 x))      the refinement, x = [L; V] [ours]

"Constraint-weak" is taken at its word [ours]: L is not multiplied into the vision map, no loss is put on
the affinity, and the words do not compete. The usual softmax over the words (`fusion.affinity=softmax`,
without b) is a constraint: where a position matches both "red" and "cross" it gathers the *average* of the
two, where it matches one of them, that one whole, and no linear read-out tells a full match from a half
one. With a sigmoid each affinity stands for itself, and what is gathered is the sum of what matches. The
refinement (`fusion.refine`) sees L and V of the same position and no other; its product is large where both
factors are, which is how it tells a full match from a half one (the bilinear layer of Shazeer, "GLU Variants
Improve Transformer", 2020, arXiv 2002.05202).

What makes the vision feature language-aware is m [ours]: the sentence vector s, the same at each position,
m = W_s s (`fusion.query=sentence`); or words, gathered by each position of the plain map in a first, coarse
attention of the same kind (`word`), which needs no further weights: m = Σ_t a_t W_s e_t with Q = W_q V.

With `fusion.coordinates` the query is W_q V + W_x X instead, X the coordinates of each position from −1 to 1
[ours]: which words a position gathers may then depend on where it is.

Shapes: B images, N expressions, C channels, H×W positions, T tokens, D width of the text.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.layers import Pointwise, coordinate_map, expand_to_expressions, group_norm

FIRST_BIAS = -1.0  # b at the start: a word that matches nothing yet weighs σ(−1) = 0.27


class DistributeByAttention(nn.Module):
    """Let each position gather the words that concern it (`fusion.distribution=attention`)."""

    def __init__(
        self,
        width: int,
        language_width: int,
        *,
        query: str,
        affinity: str,
        refine: bool,
        coordinates: bool,
    ) -> None:
        """Build the attention.

        Args:
            width: channels C.
            language_width: D.
            query: "sentence" or "word": what modulates the query.
            affinity: "sigmoid" or "softmax": of a position and a word.
            refine: whether the result is refined with the vision map.
            coordinates: whether the query has the coordinates of its position.
        """
        super().__init__()
        self.query_by_word = query == "word"
        self.query = Pointwise(width, width)
        self.place = Pointwise(2, width, bias=False) if coordinates else None
        self.modulation = nn.Linear(language_width, width)
        self.key_value = nn.Linear(language_width, 2 * width)
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS)) if affinity == "sigmoid" else None
        self.out = nn.Sequential(Pointwise(width, width), group_norm(width))
        self.refine = Refine(width) if refine else None

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        """Lay the words out over the map.

        Args:
            vision: (B, C, H, W).
            language: the N expressions.
            expression_to_image: (N,), the image that each expression is about, in 0..B−1.

        Returns:
            The distributed language map L, (N, C, H, W).
        """
        query, key, value, mask = self._project(vision, language, expression_to_image)
        gathered = self._gather(query, key, value, mask)  # (N, HW, C)
        distributed = self.out(gathered.transpose(1, 2).unflatten(2, vision.shape[-2:]))
        return self.refine(distributed, vision, expression_to_image) if self.refine else distributed

    def affinity(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        """Compute the affinity of each word to each position; the arguments are those of `forward`.

        Returns:
            a, (N, T, H, W), in 0..1; 0 at padding.
        """
        query, key, _, mask = self._project(vision, language, expression_to_image)
        return self._weigh(query, key, mask).transpose(1, 2).unflatten(2, vision.shape[-2:])

    def _project(
        self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return query (N, HW, C), key and value (N, T, C), and the mask of the words (N, 1, T)."""
        query = self.query(vision)
        if self.place is not None:
            query = query + self.place(coordinate_map(vision))
        query = expand_to_expressions(query, expression_to_image)
        query = query.flatten(2).transpose(1, 2)  # (N, HW, C)
        key, value = self.key_value(language.words).chunk(2, dim=-1)  # (N, T, C) each
        mask = language.word_mask[:, None]
        if self.query_by_word:  # W_s is applied to the words, which keeps what is gathered C wide
            modulation = self._gather(query, key, self.modulation(language.words), mask)  # (N, HW, C)
            return query * (1 + modulation), key, value, mask
        # The products are the same where the key is modulated, which saves a pass over the map.
        modulation = self.modulation(language.sentence)[:, None]  # (N, 1, C)
        return query, key * (1 + modulation), value, mask

    def _weigh(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        """Compute the affinities, (N, HW, T)."""
        product = query @ (key / math.sqrt(key.shape[-1])).transpose(1, 2)
        if self.bias is None:
            return product.masked_fill(~mask, -math.inf).softmax(-1)
        return (product + self.bias).sigmoid() * mask

    def _gather(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Sum the values under their affinities, (N, HW, C)."""
        if self.bias is None:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._weigh(query, key, mask) @ value


class Refine(nn.Module):
    """Refine L position by position with what is seen there: norm(L + W_2 (W_1 [L; V] ⊙ W_3 [L; V]))."""

    def __init__(self, width: int) -> None:
        """Build the layers for C = `width`."""
        super().__init__()
        # W_1 and W_3 as one layer, whose part of V is computed once per image. The two parts start as a layer
        # of 2C inputs does.
        self.language = Pointwise(width, 2 * width)
        self.vision = Pointwise(width, 2 * width, bias=False)
        with torch.no_grad():
            for part in (self.language, self.vision):
                part.weight.mul_(1 / math.sqrt(2))
        self.out = Pointwise(width, width)  # W_2
        self.norm = group_norm(width)

    def forward(self, distributed: Tensor, vision: Tensor, expression_to_image: Tensor) -> Tensor:
        """Refine L, (N, C, H, W), by V, (B, C, H, W), of the image of each expression."""
        seen = expand_to_expressions(self.vision(vision), expression_to_image)  # (N, 2C, H, W)
        one, other = (self.language(distributed) + seen).chunk(2, dim=1)  # (N, C, H, W) each
        return self.norm(distributed + self.out(one * other))


class DistributeByTiling(nn.Module):
    """Put the sentence vector at each position, the ablation's baseline (`fusion.distribution=tile`)."""

    def __init__(self, width: int, language_width: int) -> None:
        """Build the projection from D = `language_width` to C = `width`."""
        super().__init__()
        self.project = nn.Sequential(nn.Linear(language_width, width), nn.LayerNorm(width))

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        """Tile the sentence over the map; shapes as for `DistributeByAttention.forward`."""
        tile = self.project(language.sentence).to(vision.dtype)[:, :, None, None]  # (N, C, 1, 1)
        return tile.expand(-1, -1, *vision.shape[-2:])
