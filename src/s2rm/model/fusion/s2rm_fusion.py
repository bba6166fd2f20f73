"""The fusion of one stage by S²RM: distribute, coparse, balance.

A fusion maps a vision map (B, C, H, W) and the language of N expressions to N fused maps (N, C, H, W).
Fusion is lateral [ours]: the result goes to the decoder, never back into the vision backbone, so an image
is encoded once for all of its expressions. `baselines.py` has the baselines with the same interface.

Shapes: B images, N expressions, C channels, H×W positions, T tokens, D width of the text, K parsed
semantics, M parsed contexts (1 or 2).
"""

from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.fusion.balance import Balance, Mean
from s2rm.model.fusion.coparse import Coparse
from s2rm.model.fusion.distribute import DistributeByAttention, DistributeByTiling
from s2rm.model.layers import Pointwise, expand_to_expressions


class S2RMFusion(nn.Module):
    """The trilogy [paper]: distribute, coparse, balance; F = V + out(balance(Y_1..Y_K)) [ours].

    Without coparsing the two contexts themselves are balanced, F = V + out([2 w_V ⊙ V; 2 w_L ⊙ L]) [ours],
    which starts as the plain concatenation, F = V + out([V; L]).
    """

    def __init__(
        self,
        width: int,
        language_width: int,
        *,
        distribution: str,
        query: str,
        affinity: str,
        refine: bool,
        coordinates: bool,
        coparsing: str,
        rotations: int,
        state: str,
        recurrence: str,
        slice_kernel: int,
        balancing: bool,
    ) -> None:
        """Build the fusion of one stage.

        Args:
            width: channels C.
            language_width: D.
            distribution: this and the following are the parameters of `s2rm.config.network.Fusion`.
            query: what modulates the query of the words.
            affinity: of a position and a word.
            refine: whether the distributed language is refined with the vision map.
            coordinates: whether the query of the words has coordinates.
            coparsing: the roles that are played.
            rotations: number of sweeps per role.
            state: what the recurrence carries.
            recurrence: over the slices.
            slice_kernel: size of the convolution along a slice, in positions.
            balancing: whether the parsed semantics are weighted.
        """
        super().__init__()
        self.distribute = (
            DistributeByAttention(
                width,
                language_width,
                query=query,
                affinity=affinity,
                refine=refine,
                coordinates=coordinates,
            )
            if distribution == "attention"
            else DistributeByTiling(width, language_width)
        )
        roles = [role for role in ("language_to_vision", "vision_to_language") if coparsing in (role, "both")]
        self.coparse = nn.ModuleDict(
            {role: Coparse(width, slice_kernel, recurrence, rotations, state) for role in roles}
        )
        contexts = len(roles) or 2  # M; without coparsing, the two contexts as they are
        semantics = len(roles) * rotations or 2  # K
        self.balance = Balance(width, semantics, contexts) if balancing else Mean(contexts)
        self.out = Pointwise(contexts * width, width)

    def parse(
        self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Distribute the language and parse the contexts; the arguments are those of `forward`.

        Returns:
            The distributed language map L, (N, C, H, W), and the K parsed semantics, (N, C, H, W) each:
            first those that parse V, then those that parse L; none without coparsing.
        """
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
        """Fuse N expressions into the maps of their images.

        Args:
            vision: V, (B, C, H, W).
            language: the N expressions: words (N, T, D), sentence (N, D).
            expression_to_image: (N,), the image that each expression is about, in 0..B−1.

        Returns:
            The fused maps F, (N, C, H, W).
        """
        distributed, semantics = self.parse(vision, language, expression_to_image)  # (N, C, H, W); K of them
        vision = expand_to_expressions(vision, expression_to_image)  # (N, C, H, W)
        # The balance is (N, M·C, H, W), its projection (N, C, H, W).
        return vision + self.out(self.balance(semantics or [vision, distributed]))
