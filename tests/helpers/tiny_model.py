"""A processor for a tiny model, and both of them saved as a trained folder."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from s2rm.data.processor import Processor
from s2rm.model.s2rm import S2RM


def processor_of(model: S2RM, tokenizer: PreTrainedTokenizerBase) -> Processor:
    """The processor that a training makes for the model."""
    config = model.config
    return Processor(
        tokenizer,
        image_size=config.vision.image_size,
        max_tokens=config.language.tokens,
        mean=model.vision.mean,
        std=model.vision.std,
    )


def save(model: S2RM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """Write what `Predictor.from_pretrained` reads."""
    model.float().save_pretrained(folder)
    processor_of(model, tokenizer).save_pretrained(folder)
    return folder
