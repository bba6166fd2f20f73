"""Sketches: backbones on torch's meta device, where tensors have shapes and no values.

A sketch costs a fraction of a second and no memory whatever the size of the model, and shows all that can be
wrong with a backbone but its weights.

Shapes: S side of the square images in pixels; C channels, H×W positions of a map.
"""

import difflib
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import FeatureListNet
from torch import Tensor, nn

from s2rm.core.errors import UserError

STRIDES = [4, 8, 16, 32]
# Image sizes that are tried where a backbone does not take the one given; the nearest is proposed.
SIZES = (32, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 480, 512)
MUCH = 1.5  # ratio of two numbers of parameters


def sketch_backbone(name: str, *, image_size: int, options: Mapping[str, object]) -> FeatureListNet:
    """Build a backbone on the meta device, and run it once.

    Args:
        name: of a timm model.
        image_size: side S of the square input, in pixels.
        options: further keyword arguments of `timm.create_model`.

    Raises:
        UserError: timm does not know the name or refuses the options; or the backbone has features at other
            strides, does not take images of this size, or cuts their borders.
    """
    sketch = _sketch(name, image_size, options)
    try:
        maps = _run(sketch, image_size)
    except Exception as error:  # what a model of timm raises is its own choice
        proposal = _propose_size(name, image_size, options)
        raise UserError(
            f"vision.backbone={name} does not take images of vision.image_size={image_size} with "
            f"vision.options={dict(options)}: {shorten(error)}; {proposal}"
        ) from error
    channels = sketch.feature_info.channels()
    for size, stride, width in zip(maps, STRIDES, channels, strict=True):
        if len(size) != 4 or size[1] != width:
            raise UserError(
                f"vision.backbone={name} has features of shape {list(size)} at stride {stride}, which are "
                f"not maps of {width} channels: choose another backbone"
            )
        if min(size[2:]) < image_size // stride:
            raise UserError(
                f"vision.backbone={name} has {size[2]}×{size[3]} positions at stride {stride} of an image "
                f"with {image_size} pixels: it cuts the borders off; choose another backbone"
            )
    return sketch


def require_trainable(name: str, *, image_size: int, options: Mapping[str, object]) -> None:
    """Refuse a backbone that cannot be trained on a batch with a single image, which an epoch can end with.

    Args:
        name: of a timm model that `sketch_backbone` accepts.
        image_size: side S of the square input, in pixels.
        options: further keyword arguments of `timm.create_model`.

    Raises:
        UserError: one of its norms would see a single value per channel.
    """
    sketch = _sketch(name, image_size, options)
    try:
        _run(sketch.train(), image_size)
    except ValueError as error:
        larger = 2 * image_size
        helps = _takes(name, larger, options, training=True)
        advice = f"set vision.image_size={larger}" if helps else "choose another backbone"
        raise UserError(
            f"vision.backbone={name} cannot be trained on a batch with one image of "
            f"vision.image_size={image_size}, which an epoch can end with: {shorten(error)}; {advice}"
        ) from error


def describe_options(name: str, *, image_size: int, options: Mapping[str, object]) -> str | None:
    """Say how `vision.options` changes the size of a backbone; None where that is not much.

    Options that were written for another backbone are easily inherited: with the channels of a small one a
    large one is small, too.

    Args:
        name: of a timm model that `sketch_backbone` accepts.
        image_size: side S of the square input, in pixels.
        options: further keyword arguments of `timm.create_model`.
    """
    if not options:
        return None
    found = count_parameters(_sketch(name, image_size, options))
    try:
        plain = count_parameters(_sketch(name, image_size, {}))
    except UserError:  # it needs its options
        return None
    if plain / MUCH < found < plain * MUCH:
        return None
    given = ", ".join(f"{key}={value}" for key, value in options.items())
    return (
        f"vision: {name} with {given} has {found / 1e6:.1f} M parameters, {plain / 1e6:.1f} M without "
        f"vision.options (dvc exp run {_remove(options)} removes them)"
    )


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def list_arguments(name: str, image_size: int, options: Mapping[str, object]) -> dict[str, Any]:
    """Return the keyword arguments of `timm.create_model`."""
    arguments: dict[str, Any] = {"features_only": True, "out_indices": (-4, -3, -2, -1)}
    if name.startswith("swin"):  # window attention is built for one grid, but works on others
        arguments |= {"img_size": image_size, "strict_img_size": False}
    return arguments | dict(options)


def _sketch(name: str, image_size: int, options: Mapping[str, object]) -> FeatureListNet:
    """Build a backbone on the meta device, in evaluation mode; nothing is drawn from the seed.

    Raises:
        UserError: timm does not know the name or refuses the options; or the backbone has features at other
            strides.
    """
    if not timm.is_model(name.split(".")[0]):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        raise UserError(f"vision.backbone is {name!r}, which timm does not know{hint}")
    try:
        sketch = _create_sketch(name, image_size, options)
        strides = sketch.feature_info.reduction()
    except Exception as error:  # what a model of timm raises is its own choice
        raise UserError(
            f"vision.backbone={name} cannot be built with vision.options={dict(options)}: {shorten(error)}; "
            + _advise(name, image_size, options)
        ) from error
    if strides != STRIDES:
        raise UserError(
            f"vision.backbone={name} has features at strides {strides}: {STRIDES} are needed; "
            + _advise(name, image_size, options)
        )
    return sketch.eval()


def _create_sketch(name: str, image_size: int, options: Mapping[str, object]) -> FeatureListNet:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return timm.create_model(name, **list_arguments(name, image_size, options))


def _advise(name: str, image_size: int, options: Mapping[str, object]) -> str:
    """Say what to do about a backbone that cannot be built, or not with the strides."""
    if options:
        try:
            usable = _create_sketch(name, image_size, {}).feature_info.reduction() == STRIDES
        except Exception:
            usable = False
        if usable:
            return f"without vision.options it can be used (dvc exp run {_remove(options)})"
    return "choose another backbone"


def _remove(options: Mapping[str, object]) -> str:
    """Return the arguments with which DVC removes these options; `vision.options={}` would change nothing."""
    return " ".join(f"-S '~vision.options.{key}'" for key in options)


def _run(sketch: FeatureListNet, image_size: int) -> list[torch.Size]:
    """Run a sketch on one image; return the shapes of the maps, (1, C, H, W)."""
    with torch.no_grad():
        maps: list[Tensor] = sketch(torch.zeros(1, 3, image_size, image_size, device="meta"))
    return [stage.shape for stage in to_channels_first(sketch, maps)]


def to_channels_first(backbone: FeatureListNet, maps: list[Tensor]) -> list[Tensor]:
    """Return the maps of a backbone as (…, C, H, W); some have (…, H, W, C)."""
    if getattr(backbone, "output_fmt", "NCHW") != "NHWC":
        return maps
    return [stage.movedim(-1, -3) for stage in maps]


def _propose_size(name: str, image_size: int, options: Mapping[str, object]) -> str:
    """Say how a backbone takes images: by its option `img_size`, or of the nearest size that is tried."""
    if _takes(name, image_size, {**options, "img_size": image_size}):
        new = "" if "img_size" in options else "+"
        return f"it does with -S '{new}vision.options.img_size={image_size}'"
    for size in sorted(SIZES, key=lambda size: abs(size - image_size)):
        if _takes(name, size, options):
            return f"vision.image_size={size} would do"
    return "choose another backbone"


def _takes(name: str, image_size: int, options: Mapping[str, object], *, training: bool = False) -> bool:
    try:
        _run(_sketch(name, image_size, options).train(training), image_size)
    except Exception:  # what a model of timm raises is its own choice
        return False
    return True


def shorten(error: Exception) -> str:
    """Return an error's message as one short line, or its name where it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
