"""The one builder: from parameters to a model. Every size and every switch passes through here."""

from pathlib import Path

from torch import nn
from transformers import BertConfig, PreTrainedTokenizerBase

from s2rm.config.params import Decoder, Fusion, Params
from s2rm.core.errors import UserError
from s2rm.model.config import ModelConfig
from s2rm.model.decoders.casg import CASG
from s2rm.model.decoders.fpn import FPN
from s2rm.model.encoders.language import (
    LanguageEncoder,
    build_bert,
    pretrained_bert_config,
    random_bert_config,
)
from s2rm.model.encoders.vision import VisionEncoder
from s2rm.model.fusion.s2rm_fusion import ConcatFusion, NoFusion, PixelWordAttention, S2RMFusion
from s2rm.model.layers import Pointwise
from s2rm.model.s2rm import S2RM


def build_model(
    params: Params,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vision_weights: Path | None = None,
    language_weights: Path | None = None,
) -> S2RM:
    """A model to be trained.

    Args:
        vision_weights: the file that the backbone starts from, where `vision.pretrained`.
        language_weights: the folder that BERT starts from, where `language.pretrained`.
    """
    if params.vision.pretrained and vision_weights is None:
        raise UserError("vision.pretrained is true, but its weights are not given")
    if params.language.pretrained is not None and language_weights is None:
        raise UserError(f"language.pretrained is {params.language.pretrained}, but its weights are not given")
    if language_weights is None:
        bert = random_bert_config(
            params.language, vocabulary=len(tokenizer), pad_token_id=tokenizer.pad_token_id
        )
    else:
        bert = pretrained_bert_config(language_weights)
    config = ModelConfig.from_params(params, bert.to_dict())
    return assemble(config, vision_weights=vision_weights, language_weights=language_weights)


def assemble(
    config: ModelConfig, *, vision_weights: Path | None = None, language_weights: Path | None = None
) -> S2RM:
    """The model that `config` describes; encoders without weights are random."""
    vision, fusion = config.vision, config.fusion
    encoder = VisionEncoder(
        vision.backbone,
        fusion.widths,
        weights=vision_weights,
        image_size=vision.image_size,
        coordinates=vision.coordinates,
        options=vision.options,
    )
    language = None
    if fusion.kind != "none":  # the language-blind control has no language anywhere
        language = LanguageEncoder(build_bert(BertConfig.from_dict(config.bert), language_weights))
    language_width = None if language is None else language.width
    cascade = None
    if fusion.cascade == "bottom_up":
        pairs = zip(fusion.widths, fusion.widths[1:], strict=False)
        cascade = nn.ModuleList(Pointwise(finer, coarser) for finer, coarser in pairs)
    return S2RM(
        encoder,
        language,
        nn.ModuleList(
            build_fusion(fusion, stage, width, language_width)
            for stage, width in enumerate(fusion.widths, start=1)
        ),
        build_decoder(config.decoder, fusion.widths, language_width),
        config=config,
        cascade=cascade,
    )


def build_fusion(fusion: Fusion, stage: int, width: int, language_width: int | None) -> nn.Module:
    """The fusion of one stage, 1 (stride 4) to 4 (stride 32)."""
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
        coparsing=fusion.coparsing,
        rotations=fusion.rotations,
        state=fusion.state,
        recurrence=fusion.recurrence,
        slice_kernel=fusion.slice_kernel,
        balancing=fusion.balancing,
    )


def build_decoder(decoder: Decoder, widths: list[int], language_width: int | None) -> nn.Module:
    if decoder.kind == "fpn":
        return FPN(widths, decoder.width)
    return CASG(
        widths,
        decoder.width,
        language_width,
        language_guidance=decoder.language_guidance,
        foreground_guidance=decoder.foreground_guidance,
    )
