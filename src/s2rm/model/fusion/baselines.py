"""The baselines of the fusion, with the interface of `S2RMFusion`: `fusion.kind` = pwam, concat or none.

They are trained by the same code under the same budget, so that every number of S²RM has a reference point.

Shapes: B images, N expressions, C channels, H×W positions, D width of the text.
"""

import torch
from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.fusion.distribute import DistributeByAttention, DistributeByTiling
from s2rm.model.layers import Pointwise, expand_to_expressions


class PixelWordAttention(nn.Module):
    """Multiply the words that each pixel gathers into the vision map (`fusion.kind=pwam`).

    The idea of LAVT's pixel-word attention module (Yang et al., CVPR 2022), but lateral.
    """

    def __init__(self, width: int, language_width: int, *, query: str) -> None:
        """Build the module for C = `width` and D = `language_width`; see `DistributeByAttention`.

        As in LAVT, the words compete in a softmax, and what they give is not refined.
        """
        super().__init__()
        self.attention = DistributeByAttention(
            width, language_width, query=query, affinity="softmax", refine=False, coordinates=False
        )
        self.vision = nn.Sequential(Pointwise(width, width), nn.GELU())
        self.out = nn.Sequential(Pointwise(width, width), nn.GELU())

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        """Fuse a map (B, C, H, W) with N expressions to (N, C, H, W); see `S2RMFusion.forward`."""
        gathered = self.attention(vision, language, expression_to_image)
        fused = expand_to_expressions(self.vision(vision), expression_to_image) * gathered
        return expand_to_expressions(vision, expression_to_image) + self.out(fused)


class ConcatFusion(nn.Module):
    """Concatenate the tiled sentence to the vision map, then one 1×1 convolution (`fusion.kind=concat`)."""

    def __init__(self, width: int, language_width: int) -> None:
        """Build the module for C = `width` and D = `language_width`."""
        super().__init__()
        self.tile = DistributeByTiling(width, language_width)
        self.out = nn.Sequential(Pointwise(2 * width, width), nn.GELU())

    def forward(self, vision: Tensor, language: LanguageFeatures, expression_to_image: Tensor) -> Tensor:
        """Fuse a map (B, C, H, W) with N expressions to (N, C, H, W); see `S2RMFusion.forward`."""
        tile = self.tile(vision, language, expression_to_image)
        vision = expand_to_expressions(vision, expression_to_image)
        return vision + self.out(torch.cat([vision, tile], dim=1))


class NoFusion(nn.Module):
    """A stage without language: `fusion.kind=none`, or a stage that `fusion.stages` leaves out."""

    def forward(
        self, vision: Tensor, language: LanguageFeatures | None, expression_to_image: Tensor
    ) -> Tensor:
        """Give each expression its image's map: (B, C, H, W) to (N, C, H, W)."""
        return expand_to_expressions(vision, expression_to_image)
