"""A trained model as a folder: config.json, model.safetensors (best), last.safetensors, tokenizer."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from s2rm.core.errors import UserError
from s2rm.model.config import ModelConfig
from s2rm.model.s2rm import S2RM

CONFIG = "config.json"
Model = TypeVar("Model", bound=S2RM)


def save(model: S2RM, tokenizer: PreTrainedTokenizerBase, folder: Path, weights: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(model.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)
    save_model(model, str(folder / f"{weights}.safetensors"))


def load(cls: type[Model], folder: Path, weights: str) -> Model:
    from s2rm.model.build import assemble

    file = folder / f"{weights}.safetensors"
    for path in (folder / CONFIG, file):
        if not path.is_file():
            raise UserError(
                f"{folder} is no trained model: {path.name} is missing (train one with `dvc repro`)"
            )
    try:
        config = ModelConfig.model_validate(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        model = assemble(config)
        load_model(model, str(file))
    except (ValidationError, ValueError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} is no model that this version can read: {reason}") from None
    assert isinstance(model, cls)
    return model.eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside a trained model."""
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no tokenizer: {' '.join(str(error).split())[:200]}") from None
