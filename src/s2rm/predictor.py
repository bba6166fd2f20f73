"""Predicts masks for an image and expressions with a trained model.

Shapes: N expressions, H×W pixels of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from s2rm.core.devices import choose_device
from s2rm.core.errors import UserError
from s2rm.data.processor import Processor
from s2rm.model.s2rm import S2RM


@dataclass
class Predictor:
    """A model with its processor, which predicts masks for images of any size.

    `hf upload owner/name models/joint` puts a trained folder on the Hugging Face Hub, where
    `from_pretrained("owner/name")` finds it.
    """

    model: S2RM
    """The model, on the device where it runs."""
    processor: Processor
    """The processor that the model was trained with."""
    threshold: float = 0.5
    """Probability above which a pixel is foreground."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        threshold: float = 0.5,
        *,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> Self:
        """Load a trained model with its processor.

        Args:
            name: a trained folder (models/<run>), or the id of a repository on the Hugging Face Hub.
            threshold: probability above which a pixel is foreground.
            device: where the model runs; None chooses a GPU if the machine has one.
            options: revision, token, cache_dir, … for the Hub.

        Raises:
            UserError: the model is not found, or this version cannot read it.
        """
        chosen = torch.device(device) if device else choose_device("auto")
        model = S2RM.from_pretrained(name, **options).to(chosen).to(memory_format=torch.channels_last)
        return cls(model, Processor.from_pretrained(name, **options), threshold)

    @torch.inference_mode()
    def predict(self, image: Image.Image, expressions: Sequence[str]) -> NDArray[np.bool_]:
        """Predict one mask per expression; the image is encoded once for all of them.

        Args:
            image: of any size and mode.
            expressions: N texts, such as "the red circle on the left".

        Returns:
            The masks, (N, H, W), boolean, at the image's own size.

        Raises:
            UserError: no expression is given, or one is empty.
        """
        if not expressions:
            raise UserError("no expression is given: say in words what to segment, as ['the red circle']")
        for number, expression in enumerate(expressions, start=1):
            if not expression.strip():
                raise UserError(f"expression {number} is empty: say in words what to segment")
        device = next(self.model.parameters()).device
        inputs = self.processor(image.convert("RGB"), expressions)
        logits = self.model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits
        own_size = F.interpolate(logits.float(), (image.height, image.width), mode="bilinear")  # (N, 1, H, W)
        return (own_size.sigmoid() > self.threshold)[:, 0].cpu().numpy()
