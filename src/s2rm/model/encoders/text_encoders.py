"""Text encoders of transformers, from a folder or with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    DistilBertConfig,
    DistilBertModel,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from s2rm.config.params import Language
from s2rm.config.text_models import KNOWN, TEXT_MODELS
from s2rm.core.errors import UserError

PRETRAINED_POSITIONS, PRETRAINED_TYPES = 512, 2  # of BERT-base


@dataclass(frozen=True)
class TextModel:
    """One kind of text encoder."""

    config: type[PretrainedConfig]
    model: type[PreTrainedModel]
    layers: str
    """Path of the list of layers in the model."""
    left_out: tuple[str, ...]
    """How the names of weights begin that published files hold besides: heads of the pretraining."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the model's class."""
    causal: bool = False
    """Whether a token sees only itself and the tokens before it."""


NO_POOLER = {"add_pooling_layer": False}
KINDS: Mapping[str, TextModel] = {
    "bert": TextModel(BertConfig, BertModel, "encoder.layer", ("pooler.", "bert.pooler.", "cls."), NO_POOLER),
    "roberta": TextModel(
        RobertaConfig, RobertaModel, "encoder.layer", ("pooler.", "roberta.pooler.", "lm_head."), NO_POOLER
    ),
    "distilbert": TextModel(DistilBertConfig, DistilBertModel, "transformer.layer", ("vocab_",)),
    "clip_text_model": TextModel(
        CLIPTextConfig,
        CLIPTextModel,
        "encoder.layers",
        ("vision_model.", "visual_projection.", "text_projection.", "logit_scale"),
        causal=True,
    ),
}


def random_bert_config(language: Language, *, vocabulary: int, pad_token_id: int) -> BertConfig:
    """Return the configuration of a BERT with random weights.

    Args:
        language: its width, depth and dropout. Where it names a pretrained model, the numbers of positions
            and token types are those of BERT-base.
        vocabulary: number of token ids.
        pad_token_id: id of the padding token.
    """
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=language.hidden,
        num_hidden_layers=language.layers,
        num_attention_heads=language.heads,
        intermediate_size=4 * language.hidden,
        hidden_dropout_prob=language.dropout,
        attention_probs_dropout_prob=language.dropout,
        max_position_embeddings=(
            max(language.tokens, 32) if language.pretrained is None else PRETRAINED_POSITIONS
        ),
        pad_token_id=pad_token_id,
        type_vocab_size=1 if language.pretrained is None else PRETRAINED_TYPES,
    )


def pretrained_config(folder: Path) -> PretrainedConfig:
    """Read config.json in `folder`.

    Raises:
        UserError: the file is missing or cannot be read, or describes another kind of model.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # huggingface_hub's own for a value of a wrong type, among others
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} does not contain a text model: {reason}") from None
    if config.model_type not in TEXT_MODELS:
        raise UserError(
            f"{folder} contains a {config.model_type} model, not a {KNOWN}: set another language.pretrained"
        )
    text = config.get_text_config() if config.model_type == "clip" else config
    assert isinstance(text, PretrainedConfig)
    return text


def read_config(fields: Mapping[str, Any]) -> PretrainedConfig:
    """Read the configuration of a text encoder from its fields, `model_type` among them.

    Raises:
        ValueError: the kind is unknown, or a value is of another type than the default, which would fail in
            a forward pass only.
    """
    kind = KINDS.get(str(fields.get("model_type")))
    if kind is None:
        raise ValueError(f"text_model.model_type is {fields.get('model_type')!r}, not {', '.join(KINDS)}")
    for key, own in kind.config().to_dict().items():
        wanted = (int, float) if isinstance(own, float) else type(own)
        if own is not None and key in fields and not isinstance(fields[key], wanted):
            raise ValueError(f"text_model.{key} is {fields[key]!r}, not a value like {own!r}")
    return kind.config.from_dict(dict(fields))


def build_text_model(config: PretrainedConfig, weights: Path | None = None) -> PreTrainedModel:
    """Build a text encoder without its heads.

    Args:
        config: its kind and sizes.
        weights: a folder that transformers reads; None leaves the weights random.

    Raises:
        UserError: the folder cannot be read, lacks a weight of this model, or holds one that the model does
            not have (other than those of its heads).
    """
    kind, name = KINDS[config.model_type], TEXT_MODELS[config.model_type]
    if weights is None:
        return kind.model(config, **kind.options)
    try:
        loaded: Any = kind.model.from_pretrained(
            weights,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **kind.options,
        )
    except Exception as error:  # any, where config.json and the weights do not fit
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{weights} does not contain a {name} model: {reason}") from None
    model, found = loaded
    missing = sorted(found["missing_keys"])  # transformers would leave them random
    if missing:
        raise UserError(f"{weights} is missing {len(missing)} weights of {name} (e.g. {missing[0]})")
    unused = sorted(key for key in found["unexpected_keys"] if not key.startswith(kind.left_out))
    if unused:
        raise UserError(f"{weights} has {len(unused)} weights that {name} does not have (e.g. {unused[0]})")
    assert isinstance(model, kind.model)
    return model
