"""The text encoders of transformers that `language.pretrained` may name, and what their config.json says."""

from collections.abc import Mapping
from typing import Any

# model_type in config.json → name for people
TEXT_MODELS: Mapping[str, str] = {
    "bert": "BERT",
    "roberta": "RoBERTa",
    "distilbert": "DistilBERT",
    "clip": "CLIP",
    "clip_text_model": "CLIP's text encoder",
}
KNOWN = "BERT, RoBERTa, DistilBERT or CLIP"


def find_text_config(config: Any) -> dict[str, Any] | None:
    """Return the part of a config.json that describes the text encoder; None for a model of another kind.

    Args:
        config: the content of the file.
    """
    if not isinstance(config, dict) or config.get("model_type") not in TEXT_MODELS:
        return None
    if config["model_type"] != "clip":
        return config
    text = config.get("text_config")
    return {"vocab_size": 49408, "max_position_embeddings": 77, **(text if isinstance(text, dict) else {})}


def count_positions(text: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a text encoder reads; None if its configuration does not say.

    Args:
        text: as `find_text_config` returns it.
    """
    positions = text.get("max_position_embeddings")
    if type(positions) is not int:
        return None
    if text.get("model_type") == "roberta":  # its positions are counted from behind that of padding
        return positions - int(text.get("pad_token_id") or 1) - 1
    return positions
