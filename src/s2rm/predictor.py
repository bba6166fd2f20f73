"""Masks for an image and expressions, from a trained model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from s2rm.core.errors import UserError
from s2rm.data.processor import Processor
from s2rm.model.s2rm import S2RM


@dataclass
class Predictor:
    """A model with its processor, ready for images of any size."""

    model: S2RM
    processor: Processor
    threshold: float = 0.5
    """On the probability: a pixel above it is foreground."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        threshold: float = 0.5,
        *,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> Self:
        """Load a trained model.

        Args:
            name: a trained folder (models/<run>), or the id of a repository on the Hugging Face Hub.
            threshold: on the probability.
            device: None is the GPU where there is one.
            options: revision, token, cache_dir, … for the Hub.

        Raises:
            UserError: there is no such model, or this version cannot read it.
        """
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = S2RM.from_pretrained(name, **options).to(chosen).to(memory_format=torch.channels_last)
        return cls(model, Processor.from_pretrained(name, **options), threshold)

    @torch.inference_mode()
    def predict(self, image: Image.Image, expressions: Sequence[str]) -> NDArray[np.bool_]:
        """Predict one mask per expression; the image is encoded once.

        Returns:
            (N, H, W) at the image's own size.

        Raises:
            UserError: an expression is empty, or there is none.
        """
        if not expressions or not all(expression.strip() for expression in expressions):
            raise UserError("an expression is empty: say in words what to segment, as 'the red circle'")
        device = next(self.model.parameters()).device
        inputs = self.processor(image.convert("RGB"), expressions)
        logits = self.model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits
        own_size = F.interpolate(logits.float(), (image.height, image.width), mode="bilinear")
        return (own_size.sigmoid() > self.threshold)[:, 0].cpu().numpy()
