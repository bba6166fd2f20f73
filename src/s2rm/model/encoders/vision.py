"""The vision encoder: a timm backbone's four stages, normalised and projected to the fusion widths.

Shapes: B images, C channels, H×W positions; C_i, H_i and W_i belong to stage i, at stride 4, 8, 16 or 32.
"""

import difflib
from pathlib import Path

import timm
import torch
from timm.models import FeatureListNet
from torch import Tensor, nn

from s2rm.core.errors import UserError
from s2rm.model.layers import Pointwise

STRIDES = [4, 8, 16, 32]


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
        self.channels_last_features = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
        self.project = nn.ModuleList(
            StageProjection(channels, width, coordinates=coordinates)
            for channels, width in zip(self.backbone.feature_info.channels(), widths, strict=True)
        )
        normalisation = timm.data.resolve_model_data_config(self.backbone)
        self.mean, self.std = normalisation["mean"], normalisation["std"]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images.

        Args:
            images: (B, 3, H, W).

        Returns:
            V_1..V_4, (B, C_i, H_i, W_i) each; H_i and W_i are H and W over the stride, rounded up.
        """
        maps = self.backbone(images)
        if self.channels_last_features:
            maps = [stage.permute(0, 3, 1, 2) for stage in maps]
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
        self.norm = nn.GroupNorm(1, channels)
        self.project = Pointwise(channels, width)
        self.place = Pointwise(2, width, bias=False) if coordinates else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, width, H, W)."""
        projected = self.project(self.norm(x))
        return projected if self.place is None else projected + self.place(coordinate_map(x))


def coordinate_map(x: Tensor) -> Tensor:
    """Return the coordinates of the pixel centres of x, from −1 to 1 across the map.

    Args:
        x: (…, H, W); sets the size, the device and the dtype.

    Returns:
        (1, 2, H, W), the column first, then the row.
    """
    rows, columns = (
        (2 * torch.arange(size, device=x.device, dtype=x.dtype) + 1) / size - 1 for size in x.shape[-2:]
    )
    grid = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([grid[1], grid[0]])[None]


def build_backbone(
    name: str, *, weights: Path | None, image_size: int, options: dict[str, object]
) -> FeatureListNet:
    """Build the last four stages of a timm backbone, at strides 4, 8, 16 and 32.

    Args:
        name: of a timm model.
        weights: a safetensors file of the whole timm model; None leaves the weights random. timm itself
            converts them to another image size.
        image_size: side of the square input, in pixels.
        options: further keyword arguments of `timm.create_model`.

    Raises:
        UserError: timm does not know the name, refuses the options, or builds features at other strides;
            or the file cannot be read, lacks a parameter of the model, or holds one that it does not have.
    """
    if not timm.is_model(name.split(".")[0]):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        raise UserError(f"vision.backbone is {name!r}, which timm does not know{hint}")
    arguments: dict[str, object] = {"features_only": True, "out_indices": (-4, -3, -2, -1), **options}
    if name.startswith("swin"):  # window attention is built for one grid, but works on others
        arguments = {"img_size": image_size, "strict_img_size": False, **arguments}
    if weights is not None:  # given as a file, because timm would otherwise ask the Hub
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    try:
        backbone = timm.create_model(name, **arguments)
        strides = backbone.feature_info.reduction()
        unset = [] if weights is None else _check_file(backbone, name, arguments)
    except UserError:
        raise
    except Exception as error:  # each backbone has its own for a file or options that do not fit it
        source = "" if weights is None else f" from {weights}"
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"vision.backbone={name} cannot be built{source} with vision.options={options}: {reason}"
        ) from error
    if strides != STRIDES:
        raise UserError(f"vision.backbone={name} has features at strides {strides}: {STRIDES} are needed")
    if unset:
        raise UserError(
            f"{weights} is missing {len(unset)} parameters of vision.backbone={name} (e.g. {unset[0]}): "
            "it belongs to another model"
        )
    return backbone


def _check_file(backbone: nn.Module, name: str, arguments: dict[str, object]) -> list[str]:
    """Return the parameters that did not come from the file.

    For the stages of a backbone timm ignores what the file lacks and what it has in excess. So the whole
    model is loaded as well, which timm does strictly, and compared.

    Raises:
        RuntimeError: the file is not exactly that of the whole model.
    """
    whole_arguments = {key: arguments[key] for key in arguments.keys() - {"features_only", "out_indices"}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() + 1)  # so a parameter that neither loads differs in the two
        whole = timm.create_model(name, **whole_arguments)
    loaded = {_plain(path): parameter for path, parameter in whole.named_parameters()}
    return [
        path
        for path, parameter in backbone.named_parameters()
        if _plain(path) not in loaded or not torch.equal(parameter, loaded[_plain(path)])
    ]


def _plain(path: str) -> str:
    """Undo the renaming of a backbone: layers_0.weight and model.layers.0.weight are layers.0.weight."""
    return path.removeprefix("model.").replace("_", ".")
