"""The backbone of the vision encoder: the last four stages of a timm model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import FeatureListNet
from timm.models.swin_transformer import SwinTransformerBlock, WindowAttention
from torch import nn

from s2rm.core.errors import UserError
from s2rm.core.memory import count_free_memory
from s2rm.model.encoders.backbone_sketch import count_parameters, list_arguments, shorten, sketch_backbone

BYTES = 4  # of a parameter in float32


def build_backbone(
    name: str, *, weights: Path | None, image_size: int, options: Mapping[str, object]
) -> FeatureListNet:
    """Build the last four stages of a timm backbone, at strides 4, 8, 16 and 32.

    Args:
        name: of a timm model.
        weights: a safetensors file of the whole timm model; None leaves the weights random. timm itself
            converts them to another image size.
        image_size: side S of the square input, in pixels.
        options: further keyword arguments of `timm.create_model`.

    Raises:
        UserError: see `sketch_backbone`; or the parameters do not fit into the memory; or the file cannot be
            read, lacks a parameter of the model, or holds one that it does not have.
    """
    sketch = sketch_backbone(name, image_size=image_size, options=options)
    need, free = BYTES * count_parameters(sketch), count_free_memory()
    if free is not None and need > free:
        raise UserError(
            f"vision.backbone={name} has {need / BYTES / 1e6:,.0f} M parameters: they need {need / 1e9:.1f} "
            f"GB of memory, {free / 1e9:.1f} GB are free; choose a smaller backbone"
        )
    arguments = list_arguments(name, image_size, options)
    if weights is None:
        return _fuse_attention(timm.create_model(name, **arguments))
    # Given as a file, because timm would otherwise ask the Hub.
    arguments |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    try:
        backbone = timm.create_model(name, **arguments)
        unset = _check_file(backbone, name, arguments)
    except Exception as error:  # each backbone has its own for a file that does not fit it
        raise UserError(
            f"vision.backbone={name} cannot be built from {weights} with "
            f"vision.options={dict(options)}: {shorten(error)}"
        ) from error
    if unset:
        raise UserError(
            f"{weights} is missing {len(unset)} parameters of vision.backbone={name} (e.g. {unset[0]}): "
            "it belongs to another model"
        )
    return _fuse_attention(backbone)


def _fuse_attention(backbone: FeatureListNet) -> FeatureListNet:
    """Let Swin's windows use torch's fused attention, which timm counts as experimental; same values."""
    for module in backbone.modules():
        if isinstance(module, WindowAttention):
            module.fused_attn = True
        if isinstance(module, SwinTransformerBlock):
            keep_masks(module, True)
    return backbone


def keep_masks(block: SwinTransformerBlock, keep: bool) -> None:
    """Let a block keep the mask of its shifted windows, that of its own grid, or make one in each pass.

    timm makes one in each pass, some eight operators a block, where a model may be given any size.
    """
    block.dynamic_mask = not keep
    if keep and block.attn_mask is None:
        block._init_buffers()


def _check_file(backbone: nn.Module, name: str, arguments: dict[str, Any]) -> list[str]:
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
