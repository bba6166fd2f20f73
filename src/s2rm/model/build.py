"""Builds the parts of a model from its configuration. Every size and every switch passes through here."""

from pathlib import Path
from typing import Any

from pydantic import field_validator
from torch import nn

from s2rm.config.params import Decoder, Fusion, Language, Section, Vision
from s2rm.model.decoders.casg import CASG
from s2rm.model.decoders.fpn import FPN
from s2rm.model.encoders.language import LanguageEncoder
from s2rm.model.encoders.text_encoders import build_text_model, read_config
from s2rm.model.encoders.vision import VisionEncoder
from s2rm.model.fusion.baselines import ConcatFusion, NoFusion, PixelWordAttention
from s2rm.model.fusion.s2rm_fusion import S2RMFusion
from s2rm.model.layers import Pointwise


class ModelConfig(Section):
    """All that is needed to build a model; config.json of a trained folder holds it."""

    vision: Vision
    """The vision encoder, as in params.yaml."""
    language: Language
    """The language encoder, as in params.yaml."""
    fusion: Fusion
    """The fusion, as in params.yaml."""
    decoder: Decoder
    """The decoder, as in params.yaml."""
    text_model: dict[str, Any]
    """The fields of the configuration that transformers has for the text encoder."""

    @field_validator("text_model")
    @classmethod
    def _check_text_model(cls, text_model: dict[str, Any]) -> dict[str, Any]:
        read_config(text_model)
        return text_model


def build_vision(config: ModelConfig, weights: Path | None) -> VisionEncoder:
    """Build the vision encoder.

    Args:
        config: of the model.
        weights: a safetensors file of the whole timm backbone; None leaves the weights random.

    Raises:
        UserError: see `build_backbone`.
    """
    vision = config.vision
    return VisionEncoder(
        vision.backbone,
        config.fusion.widths,
        weights=weights,
        image_size=vision.image_size,
        coordinates=vision.coordinates,
        options=vision.options,
    )


def build_language(config: ModelConfig, weights: Path | None) -> LanguageEncoder | None:
    """Build the language encoder; None for the language-blind control, which has no language anywhere.

    Args:
        config: of the model.
        weights: a folder from which transformers reads the text encoder; None leaves the weights random.

    Raises:
        UserError: see `build_text_model`.
    """
    if config.fusion.kind == "none":
        return None
    return LanguageEncoder(build_text_model(read_config(config.text_model), weights))


def build_cascade(fusion: Fusion) -> nn.ModuleList | None:
    """Build one projection per stage except the first, from the next finer width; None without a cascade."""
    if fusion.cascade == "none":
        return None
    pairs = zip(fusion.widths, fusion.widths[1:], strict=False)
    return nn.ModuleList(Pointwise(finer, coarser) for finer, coarser in pairs)


def build_fusion(fusion: Fusion, stage: int, width: int, language_width: int | None) -> nn.Module:
    """Build the fusion of one stage.

    Args:
        fusion: the parameters.
        stage: 1 (stride 4) to 4 (stride 32).
        width: channels C of the stage's map.
        language_width: width D of the text; None for the language-blind control.
    """
    if language_width is None or stage not in fusion.stages:
        return NoFusion()
    if fusion.kind == "pwam":
        return PixelWordAttention(width, language_width, query=fusion.query)
    if fusion.kind == "concat":
        return ConcatFusion(width, language_width)
    return S2RMFusion(
        width,
        language_width,
        distribution=fusion.distribution,
        query=fusion.query,
        affinity=fusion.affinity,
        refine=fusion.refine,
        coordinates=fusion.coordinates,
        coparsing=fusion.coparsing,
        rotations=fusion.rotations,
        state=fusion.state,
        recurrence=fusion.recurrence,
        slice_kernel=fusion.slice_kernel,
        balancing=fusion.balancing,
    )


def build_decoder(decoder: Decoder, widths: list[int], language_width: int | None) -> nn.Module:
    """Build the decoder.

    Args:
        decoder: the parameters.
        widths: channels of the fused maps, from stride 4 to stride 32.
        language_width: width D of the text; None for the language-blind control.
    """
    if decoder.kind == "fpn":
        return FPN(widths, decoder.width)
    return CASG(
        widths,
        decoder.width,
        language_width,
        language_guidance=decoder.language_guidance,
        foreground_guidance=decoder.foreground_guidance,
    )
