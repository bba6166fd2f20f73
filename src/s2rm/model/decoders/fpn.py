"""A plain feature pyramid decoder (`decoder.kind=fpn`), CASG's neighbour: no guidance, dense 3×3."""

import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.layers import Pointwise, group_norm


class FPN(nn.Module):
    """Same interface as CASG; Lin et al., CVPR 2017, with a mask head at each level."""

    def __init__(self, widths: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(Pointwise(fused, width) for fused in widths)
        self.merge = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), group_norm(width), nn.GELU()) for _ in widths
        )
        self.mask = nn.ModuleList(Pointwise(width, 1) for _ in widths)

    def forward(self, fused: list[Tensor], sentence: Tensor | None) -> list[Tensor]:
        """(N, C_i, H_i, W_i) at strides 4..32 → mask logits (N, 1, H_i, W_i), finest first."""
        logits: list[Tensor] = []
        coarser = None
        for i in reversed(range(len(fused))):
            x = self.lateral[i](fused[i])
            if coarser is not None:
                x = x + F.interpolate(coarser, x.shape[-2:], mode="bilinear")
            coarser = self.merge[i](x)
            logits.insert(0, self.mask[i](coarser))
        return logits
