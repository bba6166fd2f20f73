"""The referring image segmentation model: two encoders, a fusion a stage, a decoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.encoders.language import LanguageEncoder
from s2rm.model.encoders.vision import VisionEncoder
from s2rm.model.expand import expand_to_expressions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from s2rm.model.config import ModelConfig
    from s2rm.model.fusion.s2rm_fusion import LanguageFeatures


@dataclass(frozen=True)
class Masks:
    """What the model predicts for N expressions, as logits."""

    logits: Tensor  # (N, 1, H, W), at the input's size
    coarse: list[Tensor]  # (N, 1, H_i, W_i) at strides 4, 8, 16, 32


class S2RM(nn.Module):
    """S²RM + CASG (arXiv 2405.09006), or one of its neighbours with the same interface.

    The parts are given ready made; `s2rm.model.build.build_model` makes them from parameters. An
    image is encoded once for all of its expressions: batches are ragged, B images, N expressions.
    """

    def __init__(
        self,
        vision: VisionEncoder,
        language: LanguageEncoder | None,
        fusion: nn.ModuleList,
        decoder: nn.Module,
        *,
        config: "ModelConfig",
        cascade: nn.ModuleList | None = None,
    ) -> None:
        """`language` None: a language-blind model. `cascade`: one projection a stage but the first."""
        super().__init__()
        self.vision = vision
        self.language = language
        self.fusion = fusion
        self.decoder = decoder
        self.cascade = cascade
        self.config = config

    def encode_images(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), normalised → the projected maps V_1..V_4, at strides 4 to 32."""
        return self.vision(images)

    def encode_expressions(self, token_ids: Tensor, attention_mask: Tensor) -> "LanguageFeatures | None":
        """(N, T) each → words and sentences of N expressions; None where the model is language-blind."""
        return None if self.language is None else self.language(token_ids, attention_mask)

    def forward(
        self, images: Tensor, token_ids: Tensor, attention_mask: Tensor, expression_to_image: Tensor
    ) -> Masks:
        """
        Args:
            images: (B, 3, H, W), normalised; H and W multiples of 16.
            token_ids, attention_mask: (N, T).
            expression_to_image: (N,), the image of each expression, in 0..B−1.
        """
        language = self.encode_expressions(token_ids, attention_mask)
        return self.segment(self.encode_images(images), language, expression_to_image, images.shape[-2:])

    def segment(
        self,
        maps: list[Tensor],
        language: "LanguageFeatures | None",
        expression_to_image: Tensor,
        size: tuple[int, ...],
    ) -> Masks:
        """The masks, of `size` (H, W), from what `encode_images` and `encode_expressions` gave."""
        fused: list[Tensor] = []
        for i, fuse in enumerate(self.fusion):
            vision, index = maps[i], expression_to_image
            if self.cascade is not None and fused:
                # The finer fused map joins this stage's vision map: one map an expression from here.
                below = F.adaptive_avg_pool2d(fused[-1], (vision.shape[-2], vision.shape[-1]))
                vision = expand_to_expressions(vision, index) + self.cascade[i - 1](below)
                index = torch.arange(len(index), device=index.device)
            fused.append(fuse(vision, language, index))
        coarse = self.decoder(fused, None if language is None else language.sentence)
        logits = F.interpolate(coarse[0], size, mode="bilinear")
        return Masks(logits=logits, coarse=coarse)

    def save_pretrained(
        self, folder: str | Path, tokenizer: "PreTrainedTokenizerBase", weights: str = "model"
    ) -> None:
        """Writes config.json, <weights>.safetensors and the tokenizer; see `s2rm.model.pretrained`."""
        from s2rm.model.pretrained import save

        save(self, tokenizer, Path(folder), weights)

    @classmethod
    def from_pretrained(cls, folder: str | Path, weights: str = "model") -> Self:
        """Reads back what `save_pretrained` wrote: `model` = the best checkpoint, `last` = the last."""
        from s2rm.model.pretrained import load

        return load(cls, Path(folder), weights)
