"""Whether a language model on the Hub can be used, as its small config.json tells."""

from pathlib import Path
from typing import Any

from s2rm.config.params import Language
from s2rm.config.text_models import KNOWN, count_positions, find_text_config
from s2rm.core.errors import UserError
from s2rm.core.files import load_json

CONFIG = "config.json"


def require_usable(config: Any, language: Language) -> None:
    """Check that a configuration is that of a known text encoder with enough positions for the expressions.

    Args:
        config: the content of config.json.
        language: the parameters of the language encoder, which name the model.

    Raises:
        UserError: it is not.
    """
    text = find_text_config(config)
    if text is None:
        kind = config.get("model_type") if isinstance(config, dict) else None
        found = f"a {kind} model" if kind else "a model of an unknown kind (no model_type in its config.json)"
        raise UserError(
            f"language.pretrained is {language.pretrained}, which is {found}: choose a {KNOWN} model"
        )
    positions = count_positions({"max_position_embeddings": language.tokens + 2, **text}) or 0
    if positions < language.tokens:
        raise UserError(
            f"language.tokens is {language.tokens}, but {language.pretrained} has {positions} positions: "
            "lower language.tokens"
        )


def require_usable_file(path: Path, language: Language) -> None:
    """Check a config.json as `require_usable` does.

    Raises:
        UserError: it cannot be read, or see `require_usable`.
    """
    config = load_json(path)
    try:
        require_usable(config, language)
    except UserError as error:
        raise UserError(f"{error} ({path})") from None
