"""Predicts masks for an image and expressions with a trained model.

Shapes: N expressions, H×W pixels of the image.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from s2rm.config.text_models import count_positions
from s2rm.core.devices import choose_device
from s2rm.core.errors import UserError
from s2rm.data.images import to_rgb
from s2rm.data.processor import Processor
from s2rm.model.s2rm import S2RM

logger = logging.getLogger(__name__)


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
            UserError: the model is not found, this version cannot read it, or its processor belongs to
                another model.
        """
        chosen = torch.device(device) if device else choose_device("auto")
        model = S2RM.from_pretrained(name, **options).to(chosen).to(memory_format=torch.channels_last)
        processor = Processor.from_pretrained(name, **options)
        _check_pair(model, processor, name)
        return cls(model, processor, threshold)

    @torch.inference_mode()
    def predict(self, image: Image.Image, expressions: Sequence[str]) -> NDArray[np.bool_]:
        """Predict one mask per expression; the image is encoded once for all of them.

        One line is logged, as a warning, where the vocabulary does not know a word of an expression, and
        where an expression is cut.

        Args:
            image: of any size and mode; what is transparent in it counts as white.
            expressions: N texts, such as "the red circle on the left".

        Returns:
            The masks, (N, H, W), boolean, at the image's own size.

        Raises:
            UserError: no expression is given, or one is empty or no valid text; the image cannot be decoded;
                or the model's weights give no numbers.
        """
        if not expressions or isinstance(expressions, str):
            raise UserError("no list of expressions is given: say what to segment, as ['the red circle']")
        for number, expression in enumerate(expressions, start=1):
            if any("\ud800" <= character <= "\udfff" for character in expression):  # undecodable bytes
                raise UserError(f"expression {number} is not valid text: write it in UTF-8")
        empty = self.processor.tokenizer.num_special_tokens_to_add()
        for number, token_ids in enumerate(self.processor.tokenize(expressions), start=1):
            if len(token_ids) <= empty:  # blank, or of characters that the tokenizer removes
                raise UserError(f"expression {number} is empty: say in words what to segment")
        for line in self.processor.describe_losses(expressions):
            logger.warning("%s", line)
        device = next(self.model.parameters()).device
        inputs = self.processor(to_rgb(image), expressions)
        logits = self.model(**{name: tensor.to(device) for name, tensor in inputs.items()}).logits
        if not logits.isfinite().all():
            raise UserError("the model gives no numbers: its weights are damaged; train or fetch it again")
        own_size = F.interpolate(logits.float(), (image.height, image.width), mode="bilinear")  # (N, 1, H, W)
        return (own_size.sigmoid() > self.threshold)[:, 0].cpu().numpy()


def _check_pair(model: S2RM, processor: Processor, name: str | Path) -> None:
    """Refuse a processor whose images or token ids the model cannot take."""
    text, vocabulary = model.config.text_model, processor.tokenizer.get_vocab()
    size = model.config.vision.image_size
    if processor.image_size != size:
        raise UserError(
            f"{name}: the processor's image_size is {processor.image_size}, the model's {size}: their files "
            "belong to two models"
        )
    for what, given, limit in (
        ("token ids", max(vocabulary.values(), default=0) + 1, text.get("vocab_size")),
        ("max_tokens", processor.max_tokens, count_positions(text)),
    ):
        if not isinstance(limit, int) or given > limit:
            raise UserError(
                f"{name}: the processor's {what} is {given}, the model's limit {limit}: their files "
                "belong to two models"
            )
