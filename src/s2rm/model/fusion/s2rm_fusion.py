"""The fusion of one stage by S²RM: distribute, coparse, balance.

A fusion maps a vision map (B, C, H, W) and the language of N expressions to N fused maps (N, C, H, W).
Fusion is lateral (ours): the result goes to the decoder, never back into the vision backbone, so an image
is encoded once for all of its expressions. `baselines.py` has the alternatives with the same interface.

Shapes: B images, N expressions, C channels, H×W positions, K parsed semantics.
"""

from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.fusion.balance import Balance, Mean
from s2rm.model.fusion.coparse import Coparse
from s2rm.model.fusion.distribute import DistributeByAttention, DistributeByTiling
from s2rm.model.layers import Pointwise, expand_to_expressions


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
        distributed = self.distribute(vision, language, expression_to_image)
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
