"""The referring image segmentation model: two encoders, one fusion module per stage, a decoder.

Shapes: B images, N expressions, C channels, H×W positions, T tokens, D width of the text. C_i, H_i and W_i
belong to stage i, at stride 4, 8, 16 or 32.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from s2rm.config.load import find_missing
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

S²RM + CASG for referring image segmentation, an independent implementation of Yang, Zhang, Sun and Lu,
"Spatial Semantic Recurrent Mining for Referring Image Segmentation"
([arXiv 2405.09006](https://arxiv.org/abs/2405.09006), 2024). `config.json` holds the model's parameters,
`model.safetensors` its weights.
"""


@dataclass(frozen=True)
class Masks:
    """What the model predicts for N expressions, as logits."""

    logits: Tensor
    """(N, 1, H, W), at the size of the input."""
    coarse: list[Tensor]
    """(N, 1, H_i, W_i) each, at strides 4, 8, 16 and 32."""


register_dataclass(
    Masks
)  # so that DDP finds the tensors: else its static graph leaves the first step unshared


def _decode_config(config: dict[str, Any]) -> ModelConfig:
    """Check the content of config.json, where a missing key never takes its default.

    Raises:
        ValueError: a key is missing or unknown, or a value is not allowed.
    """
    missing = next(find_missing(config, ModelConfig), None)
    if missing is not None:
        raise ValueError(f"{CONFIG_NAME} lacks {missing}; train the model again")
    return ModelConfig.model_validate(config)


class S2RM(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="s2rm",
    license="apache-2.0",
    pipeline_tag="image-segmentation",
    tags=["referring-image-segmentation"],
    paper_url="https://arxiv.org/abs/2405.09006",
    model_card_template=MODEL_CARD,
    coders={ModelConfig: (lambda config: config.model_dump(), _decode_config)},
):
    """S²RM + CASG (arXiv 2405.09006), or a baseline with the same interface.

    An image is encoded once for all of its expressions: batches are ragged, B images, N expressions.
    `save_pretrained` and `push_to_hub` are those of huggingface_hub's `PyTorchModelHubMixin`; they write the
    model alone. Its `Processor` is saved beside it by a call of its own.

    Attributes:
        config: the parameters that the model was built from.
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
            vision_weights: a safetensors file of the whole timm backbone; None leaves the weights random.
            language_weights: a folder from which transformers reads the text encoder; None leaves the weights
                random.

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
        """Encode normalised images, (B, 3, H, W), as the projected maps V_1..V_4, (B, C_i, H_i, W_i) each."""
        return self.vision(images)

    def encode_expressions(self, token_ids: Tensor, attention_mask: Tensor) -> LanguageFeatures | None:
        """Encode N expressions, given as two (N, T) tensors; None where the model is language-blind."""
        return None if self.language is None else self.language(token_ids, attention_mask)

    def forward(
        self, images: Tensor, token_ids: Tensor, attention_mask: Tensor, expression_to_image: Tensor
    ) -> Masks:
        """Predict the mask of each expression.

        Args:
            images: (B, 3, H, W), normalised; H and W are multiples of 16.
            token_ids: (N, T).
            attention_mask: (N, T), 1 for tokens, 0 for padding.
            expression_to_image: (N,), the image of each expression, in 0..B−1.

        Returns:
            The logits (N, 1, H, W), and coarser ones (N, 1, H_i, W_i) at each stride.
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

        Returns:
            As `forward`.
        """
        fused: list[Tensor] = []
        for i, fuse in enumerate(self.fusion):
            vision, index = maps[i], expression_to_image  # (B, C_i, H_i, W_i), (N,)
            if self.cascade is not None and fused:
                # The finer fused map joins this stage's vision map, which is (N, C_i, H_i, W_i) from here on.
                below = F.adaptive_avg_pool2d(fused[-1], (vision.shape[-2], vision.shape[-1]))
                vision = expand_to_expressions(vision, index) + self.cascade[i - 1](below)
                index = torch.arange(len(index), device=index.device)
            fused.append(fuse(vision, language, index))  # F_i, (N, C_i, H_i, W_i)
        sentence = None if language is None else language.sentence  # (N, D)
        coarse = self.decoder(fused, sentence)  # (N, 1, H_i, W_i) each, the finest first
        logits = F.interpolate(coarse[0], size, mode="bilinear")  # (N, 1, H, W)
        return Masks(logits=logits, coarse=coarse)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Load a trained model, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder that `save_pretrained` wrote, such as models/<run>, or
                the id of a repository on the Hugging Face Hub.
            options: those of `PyTorchModelHubMixin.from_pretrained`: revision, token, cache_dir, …

        Raises:
            UserError: the model is not found, or this version cannot read it: its configuration lacks a
                parameter, or its weights belong to another model.
        """
        name = pretrained_model_name_or_path
        hub = {key: options[key] for key in options.keys() & HUB_OPTIONS}
        for file in (CONFIG_NAME, SAFETENSORS_SINGLE_FILE):
            find_file(name, file, what="trained model", **hub)
        try:
            model: Self = super().from_pretrained(name, **options)
        except UserError:
            raise
        except Exception as error:  # each library that reads the files has its own
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{name} cannot be read by this version: {reason}") from None
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write config.json and model.safetensors, each in one step."""
        replace_text(save_directory / CONFIG_NAME, self.config.model_dump_json(indent=2) + "\n")
        replace(save_directory / SAFETENSORS_SINGLE_FILE, lambda partial: save_model(self, str(partial)))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, config: ModelConfig, **options: Any) -> Self:  # type: ignore[override]
        """Build from `config`, then load the weights: all of them, and no others."""
        model = cls(config)
        load_model(model, str(find_file(model_id, SAFETENSORS_SINGLE_FILE, what="trained model", **options)))
        return model
