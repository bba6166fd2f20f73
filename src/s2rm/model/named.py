"""The models that have a name: those of params.yaml and of each preset."""

from collections.abc import Mapping
from typing import Any

from s2rm.config.params import Vision
from s2rm.model.encoders.backbone_sketch import describe_options

_SMALL: dict[str, dict[str, Any]] = {
    "vision": {
        "backbone": "resnet10t",
        "pretrained": False,
        "options": {"channels": [32, 48, 64, 96]},
    },
    "language": {
        "pretrained": None,
        "tokens": 24,
        "vocabulary": 400,
        "hidden": 96,
        "layers": 2,
        "heads": 4,
        "dropout": 0.0,
    },
    "decoder": {"width": 32},
}
# Name → what differs from the defaults of the sections, which are the full method at the paper's scale.
MODELS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "s2rm_swin_base_480": {},  # presets/paper.yaml, refcoco.yaml and joint.yaml
    "s2rm_resnet10t_96": {  # presets/study.yaml
        **_SMALL,
        "vision": {**_SMALL["vision"], "image_size": 96},
        "fusion": {"widths": [16, 64, 64, 64], "stages": [2, 3, 4]},
    },
    "s2rm_resnet10t_80": {  # params.yaml
        **_SMALL,
        "vision": {**_SMALL["vision"], "image_size": 80},
        "fusion": {"widths": [16, 32, 64, 64]},
    },
}


def explain_options(vision: Vision) -> str | None:
    """Say how `vision.options` changes the size of the backbone, as `describe_options` does.

    Args:
        vision: the parameters of the vision encoder, with a backbone that can be built.

    Returns:
        The line; None also where the options are those of one of `MODELS` for its backbone.
    """
    known = [sections["vision"] for sections in MODELS.values() if "vision" in sections]
    if any((vision.backbone, vision.options) == (own["backbone"], own["options"]) for own in known):
        return None
    return describe_options(vision.backbone, image_size=vision.image_size, options=vision.options)
