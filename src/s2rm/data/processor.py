"""Makes a model's inputs from images and texts; saved beside the model.

    processor_config.json     image size, mean, std, tokens
    tokenizer.json            the tokenizer, as transformers saves it
    tokenizer_config.json

Shapes: B images, N expressions, S the side of the model's input in pixels, T tokens.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
from huggingface_hub.constants import CONFIG_NAME
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from s2rm.core.errors import UserError
from s2rm.core.files import replace_text
from s2rm.core.hub_files import find_file, is_local
from s2rm.data.coverage import describe_losses
from s2rm.data.tokenizer import load_tokenizer, pad, tokenize
from s2rm.data.transforms import normalise, to_pixels

CONFIG = "processor_config.json"
LARGEST_SIZE = 8192  # pixels
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Processor:
    """A tokenizer, and the size and normalisation of images."""

    tokenizer: PreTrainedTokenizerBase
    """The tokenizer of the language encoder."""
    image_size: int
    """Side S of the square that images are resized to, in pixels."""
    max_tokens: int
    """Length at which expressions are truncated, in tokens with [CLS] and [SEP]."""
    mean: tuple[float, ...]
    """Mean of each colour channel in 0…1, which is subtracted."""
    std: tuple[float, ...]
    """Standard deviation of each colour channel in 0…1, which the difference is divided by."""

    def __call__(
        self, images: Image.Image | Sequence[Image.Image], texts: Sequence[str] | Sequence[Sequence[str]]
    ) -> dict[str, Tensor]:
        """Make the arguments of `S2RM.forward`.

        Args:
            images: one RGB image, or B of them.
            texts: the N expressions of the one image, or for each image a list of its expressions.

        Returns:
            By name: images (B, 3, S, S), token_ids and attention_mask (N, T) each, expression_to_image (N,).
        """
        alone = isinstance(images, Image.Image)
        pictures = cast("Sequence[Image.Image]", [images] if alone else images)
        groups = cast("Sequence[Sequence[str]]", [texts] if alone else texts)
        token_ids, attention_mask = self.pad([ids for group in groups for ids in self.tokenize(group)])
        counts = torch.tensor([len(group) for group in groups])
        return {
            "images": self.normalise(torch.stack([self.to_pixels(picture) for picture in pictures])),
            "token_ids": token_ids,
            "attention_mask": attention_mask,
            "expression_to_image": torch.repeat_interleave(torch.arange(len(groups)), counts),
        }

    def to_pixels(self, image: Image.Image) -> Tensor:
        """Resize an RGB image: (3, S, S), uint8."""
        return to_pixels(image, self.image_size)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise what `to_pixels` returned, (…, 3, S, S), on its device: float32."""
        return normalise(pixels, self.mean, self.std)

    def tokenize(self, expressions: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each expression, with [CLS] and [SEP], truncated to `max_tokens`."""
        return tokenize(self.tokenizer, list(expressions), self.max_tokens)

    def describe_losses(self, expressions: Sequence[str]) -> list[str]:
        """Return one line for each expression with words that the vocabulary does not know or that is cut."""
        return describe_losses(self.tokenizer, expressions, self.max_tokens)

    def pad(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Pad N expressions to the longest: token ids and attention mask, (N, T) each."""
        return pad(token_ids, int(self.tokenizer.pad_token_id))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the processor into a folder, usually that of its model."""
        config = {
            "image_size": self.image_size,
            "max_tokens": self.max_tokens,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        replace_text(Path(folder) / CONFIG, json.dumps(config, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """Load the processor that is saved beside a model.

        Args:
            name: a trained folder, or the id of a repository on the Hugging Face Hub.
            options: revision, token, cache_dir, … for the Hub.

        Raises:
            UserError: the processor is not found or cannot be read, or an earlier version trained the model.
        """
        if is_local(name) and not (Path(name) / CONFIG).is_file() and (Path(name) / CONFIG_NAME).is_file():
            raise UserError(
                f"{name} was trained by an earlier version: {CONFIG} is missing; train it again (`dvc repro`)"
            )
        path = find_file(name, CONFIG, what="trained model", **options)
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            image_size, max_tokens = (int(config[key]) for key in ("image_size", "max_tokens"))
            mean, std = (tuple(map(float, config[key])) for key in ("mean", "std"))
            if not (0 < image_size <= LARGEST_SIZE and max_tokens > 2):
                raise ValueError("image_size or max_tokens is out of range")
            if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean)):
                raise ValueError("mean or std is not that of three channels")
            if not all(0 < value < math.inf for value in std):
                raise ValueError("std is out of range")
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise UserError(f"{path} is not a processor's configuration: {reason}") from None
        if not is_local(name):  # transformers would ask the Hub for more files than these
            for file in TOKENIZER_FILES:
                find_file(name, file, what="trained model", **options)
        tokenizer = load_tokenizer(path.parent, PreTrainedTokenizerFast)
        return cls(tokenizer, image_size, max_tokens, mean, std)
