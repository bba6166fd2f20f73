"""CASG, the Cross-scale Abstract Semantic Guided Decoder [paper: name and purpose].

"Emphasise the foreground of the referent, finally integrating different grained features at a
comparatively low cost" [paper], by the previous stage's cross-scale features and the language
feature [summary]. The equations are ours. From top to bottom, stride 32 to 4, at each stage i:

    f_{i+1} = Σ σ(m_{i+1}) X_{i+1} / Σ σ(m_{i+1})   the coarser map pooled under its own foreground
    a_i = MLP([s; f_{i+1}])                        the abstract semantic, one vector
    G_i = F_i ⊙ 2σ(W_g a_i) ⊙ (1 + σ(β + τ cos(F_i, W_m a_i)))   guided by channel and in space
    X_i = separable(G_i + up(X_{i+1})),   m_i = mask(X_i)

Each stage's mask m_i yields the next abstract semantic and takes an auxiliary loss.

Shapes: N expressions, C channels, H×W positions, D width of the text. C_i, H_i and W_i belong to stage i;
within the decoder every map has C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.layers import Pointwise, group_norm, upsample


class CASG(nn.Module):
    """Decode the fused maps of the four stages into mask logits at stride 4, and coarser ones."""

    def __init__(
        self,
        widths: list[int],
        width: int,
        language_width: int | None,
        *,
        language_guidance: bool,
        foreground_guidance: bool,
    ) -> None:
        """Build the decoder.

        Args:
            widths: channels C_i of the fused maps, from stride 4 to stride 32.
            width: channels C of the decoder's maps.
            language_width: D; None for a language-blind model, which no sentence may guide.
            language_guidance: whether the sentence guides the stages.
            foreground_guidance: whether the foreground of the coarser stage guides a stage.
        """
        super().__init__()
        self.language_guidance = language_guidance and language_width is not None
        self.foreground_guidance = foreground_guidance
        sentence_width = language_width if self.language_guidance and language_width else 0
        foreground_width = width if foreground_guidance else 0
        self.lateral = nn.ModuleList(Pointwise(fused, width) for fused in widths)
        self.merge = nn.ModuleList(SeparableConv(width) for _ in widths)
        self.mask = nn.ModuleList(Pointwise(width, 1) for _ in widths)
        # The coarsest stage has no coarser foreground, so only the sentence can guide it.
        last = len(widths) - 1
        semantics = [sentence_width + (foreground_width if i < last else 0) for i in range(len(widths))]
        self.guide = nn.ModuleList(
            AbstractSemanticGuide(semantic, width) if semantic else NoGuide() for semantic in semantics
        )

    def forward(self, fused: list[Tensor], sentence: Tensor | None) -> list[Tensor]:
        """Predict a mask at each stage, from the coarsest to the finest.

        Args:
            fused: F_1..F_4, (N, C_i, H_i, W_i) each, at strides 4, 8, 16 and 32.
            sentence: (N, D); None for a language-blind model.

        Returns:
            Mask logits (N, 1, H_i, W_i) of each stage, the finest (stride 4) first.
        """
        logits: list[Tensor] = []
        coarser = foreground = None
        for i in reversed(range(len(fused))):
            parts = [sentence] if self.language_guidance and sentence is not None else []
            if foreground is not None:
                parts.append(foreground)
            x = self.lateral[i](fused[i])  # (N, C, H_i, W_i)
            x = self.guide[i](x, torch.cat(parts, dim=1) if parts else None)  # parts: (N, D) and (N, C)
            if coarser is not None:
                x = x + upsample(coarser, x.shape[-2:])
            coarser = self.merge[i](x)  # X_i, (N, C, H_i, W_i)
            logits.insert(0, self.mask[i](coarser))  # m_i, (N, 1, H_i, W_i)
            if self.foreground_guidance and i > 0:  # no stage follows the finest
                foreground = pool_foreground(coarser, logits[0])  # f_i, (N, C)
        return logits


class AbstractSemanticGuide(nn.Module):
    """Guide a map by an abstract semantic: per channel (a gate), and in space (a similarity)."""

    def __init__(self, semantic_width: int, width: int) -> None:
        """Build the guide of one stage.

        Args:
            semantic_width: width of [s; f], from which the abstract semantic is made.
            width: channels C of the guided map.
        """
        super().__init__()
        self.abstract = nn.Sequential(nn.Linear(semantic_width, width), nn.SiLU())
        self.gate = nn.Linear(width, width)
        self.match = nn.Linear(width, width)
        self.key = Pointwise(width, width)
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.shift = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor, semantic: Tensor) -> Tensor:
        """Scale a map by the gate of each channel and by the lift of each position.

        Args:
            x: F_i, (N, C, H, W).
            semantic: [s; f], (N, semantic_width): the sentence, the coarser foreground, or both.

        Returns:
            G_i before the coarser map is added, (N, C, H, W).
        """
        abstract = self.abstract(semantic)  # a_i, (N, C)
        direction = F.normalize(self.match(abstract), dim=1)
        key = self.key(x)
        # Dividing the product rather than the map saves one pass over the map, forward and backward.
        product = torch.einsum("nchw,nc->nhw", key, direction)
        with torch.autocast(key.device.type, enabled=False):  # else the map is copied to float32 for it
            norm = torch.linalg.vector_norm(key, dim=1)
        similarity = product / norm.clamp_min(1e-6)
        lift = 1 + torch.sigmoid(self.shift + self.scale * similarity)[:, None]
        return x * (2 * self.gate(abstract).sigmoid())[:, :, None, None] * lift


class NoGuide(nn.Module):
    """A stage that no abstract semantic guides (both guidances off, or nothing coarser yet)."""

    def forward(self, x: Tensor, semantic: Tensor | None) -> Tensor:
        """Return x, (N, C, H, W), as it is."""
        return x


class SeparableConv(nn.Module):
    """A residual block of a depthwise 3×3 and two pointwise convolutions, which cost little."""

    def __init__(self, width: int) -> None:
        """Build the block for maps of C = `width` channels."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            group_norm(width),
            Pointwise(width, 2 * width),
            nn.ReLU(),  # a GELU costs more, and at stride 4 this is the model's largest map
            Pointwise(2 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x + self.layers(x)


def pool_foreground(x: Tensor, logits: Tensor) -> Tensor:
    """Average a map over its predicted foreground.

    Args:
        x: (N, C, H, W).
        logits: of the foreground, (N, 1, H, W).

    Returns:
        (N, C).
    """
    foreground = logits.sigmoid()
    pooled = torch.einsum("nchw,nhw->nc", x, foreground[:, 0])
    return pooled / foreground.sum((2, 3)).clamp_min(1e-4)
