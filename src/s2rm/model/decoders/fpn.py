"""A feature pyramid (`decoder.kind=fpn`), the baseline of CASG: no guidance, dense 3×3 convolutions.

Shapes: N expressions, C channels, H×W positions, D width of the text; C_i, H_i and W_i belong to stage i.
"""

from torch import Tensor, nn

from s2rm.model.layers import Pointwise, group_norm, upsample


class FPN(nn.Module):
    """The feature pyramid of Lin et al., CVPR 2017, with a mask head at each level; called as CASG is."""

    def __init__(self, widths: list[int], width: int) -> None:
        """Build the decoder.

        Args:
            widths: channels C_i of the fused maps, from stride 4 to stride 32.
            width: channels C of the decoder's maps.
        """
        super().__init__()
        self.lateral = nn.ModuleList(Pointwise(fused, width) for fused in widths)
        self.merge = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), group_norm(width), nn.GELU()) for _ in widths
        )
        self.mask = nn.ModuleList(Pointwise(width, 1) for _ in widths)

    def forward(self, fused: list[Tensor], sentence: Tensor | None) -> list[Tensor]:
        """Predict a mask at each stage, from the coarsest to the finest.

        Args:
            fused: F_1..F_4, (N, C_i, H_i, W_i) each, at strides 4, 8, 16 and 32.
            sentence: (N, D); ignored.

        Returns:
            Mask logits (N, 1, H_i, W_i) of each stage, the finest (stride 4) first.
        """
        logits: list[Tensor] = []
        coarser = None
        for i in reversed(range(len(fused))):
            x = self.lateral[i](fused[i])  # (N, C, H_i, W_i)
            if coarser is not None:
                x = x + upsample(coarser, x.shape[-2:])
            coarser = self.merge[i](x)
            logits.insert(0, self.mask[i](coarser))
        return logits
