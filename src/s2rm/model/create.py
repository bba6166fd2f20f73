"""Creates models: by name, of given parameters, or as the start of a training."""

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from s2rm.config.params import Decoder, Fusion, Language, Params, Vision
from s2rm.config.text_models import count_positions
from s2rm.core.errors import UserError
from s2rm.model.build import ModelConfig
from s2rm.model.encoders.backbone_sketch import require_trainable
from s2rm.model.encoders.text_encoders import pretrained_config, random_bert_config
from s2rm.model.named import MODELS, explain_options
from s2rm.model.s2rm import S2RM

logger = logging.getLogger(__name__)

_SECTIONS = {"vision": Vision, "language": Language, "fusion": Fusion, "decoder": Decoder}


def list_models() -> list[str]:
    """Return the names that `create_model` knows: the models of params.yaml and of each preset."""
    return list(MODELS)


def create_model(name: str, **sections: Mapping[str, Any]) -> S2RM:
    """Create a model with random weights; nothing is downloaded.

    Args:
        name: one of `list_models()`.
        sections: changes by section, such as `fusion={"balancing": False}`, with the keys of params.yaml.

    Raises:
        UserError: the name, a section or a key is unknown, or a value is not allowed.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        raise UserError(f"unknown model {name!r}: known are {', '.join(near or MODELS)}")
    unknown = sections.keys() - _SECTIONS.keys()
    if unknown:
        raise UserError(f"unknown section {min(unknown)!r}: a model has {', '.join(_SECTIONS)}")
    try:
        found = {
            key: section(**{**MODELS[name].get(key, {}), **sections.get(key, {})})
            for key, section in _SECTIONS.items()
        }
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{name}: {key + ': ' if key else ''}{first['msg']}") from None
    return S2RM(_untrained_config(found["vision"], found["language"], found["fusion"], found["decoder"]))


def create_untrained(params: Params) -> S2RM:
    """Create the model of these parameters with random weights; nothing is downloaded.

    The text encoder is a BERT of the size that `language` states, also where the parameters name a
    pretrained model.

    Raises:
        UserError: the backbone cannot be built.
    """
    return S2RM(_untrained_config(params.vision, params.language, params.fusion, params.decoder))


def create_for_training(
    params: Params,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vision_weights: Path | None = None,
    language_weights: Path | None = None,
) -> S2RM:
    """Create the model that a training starts from.

    Args:
        params: the parameters of the training.
        tokenizer: its vocabulary is the size of a BERT from scratch.
        vision_weights: the file that the backbone starts from, where `vision.pretrained` is true.
        language_weights: the folder that the text encoder starts from, where `language.pretrained` is set.

    Raises:
        UserError: weights are missing or belong to another model, or the backbone cannot be built or trained.
    """
    if params.vision.pretrained and vision_weights is None:
        raise UserError("vision.pretrained is true, but its weights are not given")
    if params.language.pretrained is not None and language_weights is None:
        raise UserError(f"language.pretrained is {params.language.pretrained}, but its weights are not given")
    text: PretrainedConfig
    if language_weights is None:
        text = random_bert_config(
            params.language, vocabulary=len(tokenizer), pad_token_id=tokenizer.pad_token_id
        )
    else:
        text = pretrained_config(language_weights)
        positions = count_positions(text.to_dict()) or 0
        if positions < params.language.tokens:
            raise UserError(
                f"language.tokens is {params.language.tokens}, but {params.language.pretrained} has "
                f"{positions} positions: lower language.tokens"
            )
    config = ModelConfig(
        vision=params.vision,
        language=params.language,
        fusion=params.fusion,
        decoder=params.decoder,
        text_model=text.to_dict(),
    )
    vision = params.vision
    require_trainable(vision.backbone, image_size=vision.image_size, options=vision.options)
    if line := explain_options(vision):
        logger.info(line)
    return S2RM(config, vision_weights=vision_weights, language_weights=language_weights)


def _untrained_config(vision: Vision, language: Language, fusion: Fusion, decoder: Decoder) -> ModelConfig:
    text = random_bert_config(language, vocabulary=language.vocabulary, pad_token_id=0)
    return ModelConfig(
        vision=vision, language=language, fusion=fusion, decoder=decoder, text_model=text.to_dict()
    )
