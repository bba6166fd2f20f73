"""Masks for an image and expressions, from a trained folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedTokenizerBase

from s2rm.core.errors import UserError
from s2rm.data.tokenizer import pad, tokenize
from s2rm.data.transforms import to_tensor
from s2rm.model.pretrained import load_tokenizer
from s2rm.model.s2rm import S2RM


@dataclass
class Predictor:
    """A model with its tokenizer, ready for images of any size."""

    model: S2RM
    tokenizer: PreTrainedTokenizerBase
    threshold: float = 0.5

    @classmethod
    def from_pretrained(cls, folder: str | Path, threshold: float = 0.5) -> Self:
        """From a trained folder (models/<run>), on the GPU where there is one."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = S2RM.from_pretrained(folder).to(device).to(memory_format=torch.channels_last)
        return cls(model, load_tokenizer(Path(folder)), threshold)

    @torch.inference_mode()
    def predict(self, image: Image.Image, expressions: list[str]) -> NDArray[np.bool_]:
        """One mask an expression, (N, H, W) of the image's own size; the image is encoded once."""
        if not expressions or not all(expression.strip() for expression in expressions):
            raise UserError("an expression is empty: say in words what to segment, as 'the red circle'")
        model, config = self.model, self.model.config
        device = next(model.parameters()).device
        pixels = to_tensor(
            image.convert("RGB"), config.vision.image_size, model.vision.mean, model.vision.std
        )
        token_ids, mask = pad(
            tokenize(self.tokenizer, expressions, config.language.tokens), int(self.tokenizer.pad_token_id)
        )
        index = torch.zeros(len(expressions), dtype=torch.long)
        logits = model(
            pixels[None].to(device), token_ids.to(device), mask.to(device), index.to(device)
        ).logits
        own_size = F.interpolate(logits.float(), (image.height, image.width), mode="bilinear")
        return (own_size.sigmoid() > self.threshold)[:, 0].cpu().numpy()
