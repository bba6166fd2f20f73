"""The vision encoder: a timm backbone's four stages, normalised and projected to the fusion widths.

Shapes: B images, C channels, H×W positions; C_i, H_i and W_i belong to stage i, at stride 4, 8, 16 or 32.
"""

from pathlib import Path

import timm
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from s2rm.model.encoders.backbone import build_backbone, keep_masks
from s2rm.model.encoders.backbone_sketch import to_channels_first
from s2rm.model.layers import GroupNorm, Pointwise, coordinate_map


class VisionEncoder(nn.Module):
    """Encode images as the projected maps V_1..V_4.

    Attributes:
        mean: of the colour channels in 0…1, subtracted from the images that the backbone expects.
        std: of the colour channels in 0…1, by which these images are divided.
    """

    def __init__(
        self,
        backbone: str,
        widths: list[int],
        *,
        weights: Path | None,
        image_size: int,
        coordinates: bool,
        options: dict[str, object],
    ) -> None:
        """Build the backbone and the projections.

        Args:
            backbone: name of a timm model.
            widths: channels C_i of the projected maps, from stride 4 to stride 32.
            weights: see `build_backbone`.
            image_size: see `build_backbone`.
            coordinates: whether each projected map receives the coordinates of its pixels.
            options: see `build_backbone`.

        Raises:
            UserError: see `build_backbone`.
        """
        super().__init__()
        self.backbone = build_backbone(backbone, weights=weights, image_size=image_size, options=options)
        self.project = nn.ModuleList(
            StageProjection(channels, width, coordinates=coordinates)
            for channels, width in zip(self.backbone.feature_info.channels(), widths, strict=True)
        )
        self.image_size, self.own_size = image_size, True
        self.windows = [each for each in self.backbone.modules() if isinstance(each, SwinTransformerBlock)]
        normalisation = timm.data.resolve_model_data_config(self.backbone)
        self.mean, self.std = normalisation["mean"], normalisation["std"]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images.

        Args:
            images: (B, 3, H, W).

        Returns:
            V_1..V_4, (B, C_i, H_i, W_i) each; H_i and W_i are H and W over the stride, rounded as the
            backbone does.
        """
        own_size = images.shape[-2:] == (self.image_size, self.image_size)
        if own_size is not self.own_size:
            self.own_size = own_size
            for block in self.windows:
                keep_masks(block, own_size)
        maps = to_channels_first(self.backbone, self.backbone(images))
        return [project(stage) for project, stage in zip(self.project, maps, strict=True)]


class StageProjection(nn.Module):
    """Normalise the map of a stage and project it to the fusion width; add pixel coordinates [ours]."""

    def __init__(self, channels: int, width: int, *, coordinates: bool) -> None:
        """Build the projection.

        Args:
            channels: C of the backbone's map.
            width: channels of the projected map.
            coordinates: whether a projection of the pixels' coordinates is added.
        """
        super().__init__()
        self.norm = GroupNorm(1, channels)
        self.project = Pointwise(channels, width)
        self.place = Pointwise(2, width, bias=False) if coordinates else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, width, H, W)."""
        projected = self.project(self.norm(x))
        return projected if self.place is None else projected + self.place(coordinate_map(x))
