"""The referring image segmentation model: two encoders, one fusion module per stage, a decoder.

Shapes: B images, N expressions, C channels, H×W positions, T tokens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from s2rm.core.errors import UserError
from s2rm.core.files import replace, replace_text
from s2rm.core.hub_files import HUB_OPTIONS, find_file
from s2rm.model.build import (
    ModelConfig,
    build_cascade,
    build_decoder,
    build_fusion,
    build_language,
    build_vision,
)
from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.layers import expand_to_expressions

MODEL_CARD = """---
{{ card_data }}
---

S²RM + CASG for referring image segmentation ([arXiv 2405.09006](https://arxiv.org/abs/2405.09006)), an
independent implementation. `config.json` holds the model's parameters, `model.safetensors` its weights.
"""


# What a configuration or weights of another model or version raise.
UNREADABLE = (ValidationError, ValueError, TypeError, AttributeError, SafetensorError, RuntimeError)


@dataclass(frozen=True)
class Masks:
    """What the model predicts for N expressions, as logits."""

    logits: Tensor  # (N, 1, H, W), at the input's size
    coarse: list[Tensor]  # (N, 1, H_i, W_i) at strides 4, 8, 16, 32


class S2RM(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="s2rm",
    license="apache-2.0",
    pipeline_tag="image-segmentation",
    tags=["referring-image-segmentation"],
    paper_url="https://arxiv.org/abs/2405.09006",
    model_card_template=MODEL_CARD,
    coders={ModelConfig: (lambda config: config.model_dump(), ModelConfig.model_validate)},
):
    """S²RM + CASG (arXiv 2405.09006), or a baseline with the same interface.

    An image is encoded once for all of its expressions: batches are ragged, B images, N expressions.
    `save_pretrained` and `push_to_hub` are those of huggingface_hub's `PyTorchModelHubMixin`.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        vision_weights: Path | None = None,
        language_weights: Path | None = None,
    ) -> None:
        """Build the model that `config` describes.

        Args:
            config: the model's parameters.
            vision_weights: a safetensors file of the whole timm backbone; None leaves it random.
            language_weights: a folder from which transformers reads a BERT; None leaves it random.

        Raises:
            UserError: an encoder cannot be built, or the weights belong to another model.
        """
        super().__init__()
        fusion = config.fusion
        # The order of building decides the random weights, the order of assignment the optimiser's groups.
        vision = build_vision(config, vision_weights)
        language = build_language(config, language_weights)
        language_width = None if language is None else language.width
        cascade = build_cascade(fusion)
        self.vision = vision
        self.language = language
        self.fusion = nn.ModuleList(
            build_fusion(fusion, stage, width, language_width)
            for stage, width in enumerate(fusion.widths, start=1)
        )
        self.decoder = build_decoder(config.decoder, fusion.widths, language_width)
        self.cascade = cascade
        self.config = config

    def encode_images(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images (B, 3, H, W) to the projected maps V_1..V_4, at strides 4 to 32."""
        return self.vision(images)

    def encode_expressions(self, token_ids: Tensor, attention_mask: Tensor) -> LanguageFeatures | None:
        """Encode N expressions, (N, T) each; None where the model is language-blind."""
        return None if self.language is None else self.language(token_ids, attention_mask)

    def forward(
        self, images: Tensor, token_ids: Tensor, attention_mask: Tensor, expression_to_image: Tensor
    ) -> Masks:
        """Predict the mask of each expression.

        Args:
            images: (B, 3, H, W), normalised; H and W multiples of 16.
            token_ids: (N, T).
            attention_mask: (N, T), 1 for tokens, 0 for padding.
            expression_to_image: (N,), the image of each expression, in 0..B−1.
        """
        language = self.encode_expressions(token_ids, attention_mask)
        return self.segment(self.encode_images(images), language, expression_to_image, images.shape[-2:])

    def segment(
        self,
        maps: list[Tensor],
        language: LanguageFeatures | None,
        expression_to_image: Tensor,
        size: tuple[int, ...],
    ) -> Masks:
        """Predict the masks from encoded images and expressions.

        Args:
            maps: what `encode_images` returned, (B, C_i, H_i, W_i) each.
            language: what `encode_expressions` returned for N expressions.
            expression_to_image: (N,), in 0..B−1.
            size: (H, W) of the masks.
        """
        fused: list[Tensor] = []
        for i, fuse in enumerate(self.fusion):
            vision, index = maps[i], expression_to_image
            if self.cascade is not None and fused:
                # The finer fused map joins this stage's vision map: from here one map per expression.
                below = F.adaptive_avg_pool2d(fused[-1], (vision.shape[-2], vision.shape[-1]))
                vision = expand_to_expressions(vision, index) + self.cascade[i - 1](below)
                index = torch.arange(len(index), device=index.device)
            fused.append(fuse(vision, language, index))
        coarse = self.decoder(fused, None if language is None else language.sentence)
        logits = F.interpolate(coarse[0], size, mode="bilinear")
        return Masks(logits=logits, coarse=coarse)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Load a trained model, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder that `save_pretrained` wrote, as models/<run>, or the id
                of a repository on the Hugging Face Hub.
            options: those of `PyTorchModelHubMixin.from_pretrained`: revision, token, cache_dir, …

        Raises:
            UserError: there is no such model, or this version cannot read it.
        """
        name = pretrained_model_name_or_path
        hub = {key: options[key] for key in options.keys() & HUB_OPTIONS}
        for file in (CONFIG_NAME, SAFETENSORS_SINGLE_FILE):
            find_file(name, file, what="trained model", **hub)
        try:
            model: Self = super().from_pretrained(name, **options)
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{name} cannot be read by this version: {reason}") from None
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        replace_text(save_directory / CONFIG_NAME, self.config.model_dump_json(indent=2) + "\n")
        replace(save_directory / SAFETENSORS_SINGLE_FILE, lambda partial: save_model(self, str(partial)))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, config: ModelConfig, **options: Any) -> Self:  # type: ignore[override]
        """Build from `config`, then load the weights: all of them, and no others."""
        model = cls(config)
        load_model(model, str(find_file(model_id, SAFETENSORS_SINGLE_FILE, what="trained model", **options)))
        return model
