"""The fusion of one stage: S²RM whole, and its neighbours under the same interface.

Every fusion maps a vision map (B, C, H, W) and the language of N expressions to N fused maps
(N, C, H, W). Fusion is lateral (ours): the result goes to the decoder, never back into the vision
backbone, so an image is encoded once for all of its expressions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from s2rm.model.expand import expand_to_expressions
from s2rm.model.fusion.balance import Balance, Mean
from s2rm.model.fusion.coparse import Coparse
from s2rm.model.fusion.distribute import DistributeByAttention, DistributeByTiling
from s2rm.model.layers import Pointwise


@dataclass(frozen=True)
class LanguageFeatures:
    """The N expressions of a batch, encoded."""

    words: Tensor  # (N, T, D)
    word_mask: Tensor  # (N, T), true for words, false for padding
    sentence: Tensor  # (N, D)


class S2RMFusion(nn.Module):
    """The trilogy [paper]: distribute, coparse, balance; F = V + out(balance(Y_1..Y_K)).

    Without coparsing the two contexts themselves are balanced: F = V + out([2 w_V ⊙ V; 2 w_L ⊙ L]),
    which starts as the plain concatenation, F = V + out([V; L]).
    """

    def __init__(
        self,
        width: int,
        language_width: int,
        *,
        distribution: str,
        query: str,
        coparsing: str,
        rotations: int,
        state: str,
        recurrence: str,
        slice_kernel: int,
        balancing: bool,
    ) -> None:
        super().__init__()
        self.distribute = (
            DistributeByAttention(width, language_width, query=query)
            if distribution == "attention"
            else DistributeByTiling(width, language_width)
        )
        roles = [role for role in ("language_to_vision", "vision_to_language") if coparsing in (role, "both")]
        self.coparse = nn.ModuleDict(
            {role: Coparse(width, slice_kernel, recurrence, rotations, state) for role in roles}
        )
        contexts = len(roles) or 2  # that are parsed; without coparsing, the two as they are
        semantics = len(roles) * rotations or 2
        self.balance = Balance(width, semantics, contexts) if balancing else Mean(contexts)
        self.out = Pointwise(contexts * width, width)

    def parse(
        self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The distributed language map (N, C, H, W) and the parsed semantics (same shape each)."""
        distributed = self.distribute(
            vision, language.words, language.word_mask, language.sentence, expression_to_image
        )
        semantics: list[Tensor] = []
        if "language_to_vision" in self.coparse:
            semantics += self.coparse["language_to_vision"](
                distributed, vision, parsed_index=expression_to_image
            )
        if "vision_to_language" in self.coparse:
            semantics += self.coparse["vision_to_language"](
                vision, distributed, generator_index=expression_to_image
            )
        return distributed, semantics

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        distributed, semantics = self.parse(vision, language, expression_to_image)
        vision = expand_to_expressions(vision, expression_to_image)
        return vision + self.out(self.balance(semantics or [vision, distributed]))


class PixelWordAttention(nn.Module):
    """`fusion.kind=pwam`: words gathered by each pixel, multiplied into the vision map.

    The idea of LAVT's pixel-word attention module (Yang et al., CVPR 2022), but lateral.
    """

    def __init__(self, width: int, language_width: int, *, query: str) -> None:
        super().__init__()
        self.attention = DistributeByAttention(width, language_width, query=query)
        self.vision = nn.Sequential(Pointwise(width, width), nn.GELU())
        self.out = nn.Sequential(Pointwise(width, width), nn.GELU())

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        gathered = self.attention(
            vision, language.words, language.word_mask, language.sentence, expression_to_image
        )
        fused = expand_to_expressions(self.vision(vision), expression_to_image) * gathered
        return expand_to_expressions(vision, expression_to_image) + self.out(fused)


class ConcatFusion(nn.Module):
    """`fusion.kind=concat`: the sentence tiled over the map, concatenated, one 1×1 convolution."""

    def __init__(self, width: int, language_width: int) -> None:
        super().__init__()
        self.tile = DistributeByTiling(width, language_width)
        self.out = nn.Sequential(Pointwise(2 * width, width), nn.GELU())

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        tile = self.tile(vision, language.words, language.word_mask, language.sentence, expression_to_image)
        vision = expand_to_expressions(vision, expression_to_image)
        return vision + self.out(torch.cat([vision, tile], dim=1))


class NoFusion(nn.Module):
    """A stage without language: `fusion.kind=none`, and stages that fusion.stages leaves out."""

    def forward(
        self, vision: Tensor, language: LanguageFeatures | None, expression_to_image: Tensor
    ) -> Tensor:
        return expand_to_expressions(vision, expression_to_image)
