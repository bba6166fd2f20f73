"""The vision encoder: a timm backbone's four stages, normalised and projected to the fusion widths."""

import difflib
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from timm.models import FeatureListNet
from torch import Tensor, nn

from s2rm.core.errors import UserError
from s2rm.model.layers import Pointwise

STRIDES = [4, 8, 16, 32]


class VisionEncoder(nn.Module):
    """(B, 3, H, W) → V_1..V_4, (B, C_i, H/4, W/4) … (B, C_i, H/32, W/32), rounded up."""

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
        maps = self.backbone(images)
        if self.channels_last_features:
            maps = [stage.permute(0, 3, 1, 2) for stage in maps]
        return [project(stage) for project, stage in zip(self.project, maps, strict=True)]


class StageProjection(nn.Module):
    """Normalises a stage and projects it to the fusion width, with pixel coordinates (ours)."""

    def __init__(self, channels: int, width: int, *, coordinates: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.project = Pointwise(channels, width)
        self.place = Pointwise(2, width, bias=False) if coordinates else None

    def forward(self, x: Tensor) -> Tensor:
        projected = self.project(self.norm(x))
        return projected if self.place is None else projected + self.place(coordinate_map(x))


def coordinate_map(x: Tensor) -> Tensor:
    """The centres of the pixels of x (…, H, W) in [−1, 1], column then row: (1, 2, H, W)."""
    rows, columns = (
        (2 * torch.arange(size, device=x.device, dtype=x.dtype) + 1) / size - 1 for size in x.shape[-2:]
    )
    grid = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([grid[1], grid[0]])[None]


def build_backbone(
    name: str, *, weights: Path | None, image_size: int, options: dict[str, object]
) -> FeatureListNet:
    """The last four stages of a timm backbone, at strides 4, 8, 16 and 32.

    `weights` is a safetensors file of the whole timm model; None leaves it random. Every parameter
    comes from there, by timm's own conversion to another image size, and the file holds nothing that
    the whole model has not; else `UserError`.
    """
    if not timm.is_model(name.split(".")[0]):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UserError(
            f"vision.backbone is {name!r}, which timm does not know; near it: {', '.join(nearest)}"
        )
    arguments: dict[str, object] = {"features_only": True, "out_indices": (-4, -3, -2, -1), **options}
    if name.startswith("swin"):  # window attention is built for one grid, but may be used on others
        arguments = {"img_size": image_size, "strict_img_size": False, **arguments}
    if weights is not None:  # named as a file, or else timm asks the Hub
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    try:
        backbone = timm.create_model(name, **arguments)
        strides = backbone.feature_info.reduction()
        unset = [] if weights is None else _check_file(backbone, name, arguments)
    except (AttributeError, RuntimeError, TypeError, AssertionError, OSError, SafetensorError) as error:
        source = "" if weights is None else f" from {weights}"
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"vision.backbone={name} cannot be built{source} with vision.options={options}: {reason}"
        ) from error
    if strides != STRIDES:
        raise UserError(f"vision.backbone={name} has features at strides {strides}: {STRIDES} are needed")
    if unset:
        raise UserError(
            f"{weights} has no weights for {len(unset)} parameters of vision.backbone={name}, {unset[0]} "
            "among them: it is of another model"
        )
    return backbone


def _check_file(backbone: nn.Module, name: str, arguments: dict[str, object]) -> list[str]:
    """The parameters that are not from the file; RuntimeError where it is not exactly the whole model's.

    Of a backbone's stages timm passes over what the file lacks and what it has too much, so the
    whole model is loaded as well, which timm does strictly, and compared.
    """
    whole_arguments = {key: arguments[key] for key in arguments.keys() - {"features_only", "out_indices"}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() + 1)  # what neither takes from the file comes out otherwise
        whole = timm.create_model(name, **whole_arguments)
    loaded = {_plain(path): parameter for path, parameter in whole.named_parameters()}
    return [
        path
        for path, parameter in backbone.named_parameters()
        if _plain(path) not in loaded or not torch.equal(parameter, loaded[_plain(path)])
    ]


def _plain(path: str) -> str:
    """timm's backbones rename what they take: layers.0.weight is layers_0.weight or model.layers.0.weight."""
    return path.removeprefix("model.").replace("_", ".")
