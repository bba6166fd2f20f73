"""CASG, the Cross-scale Abstract Semantic Guided Decoder [paper: name and purpose].

"Emphasise the foreground of the referent, finally integrating different grained features at a
comparatively low cost" [paper], by the previous stage's cross-scale features and the language
feature [summary]. The equations are ours. Top-down from stride 32 to 4, at each stage i:

    f_{i+1} = Σ σ(m_{i+1}) X_{i+1} / Σ σ(m_{i+1})   the coarser map pooled under its own foreground
    a_i = MLP([s; f_{i+1}])                        the abstract semantic, one vector
    G_i = F_i ⊙ 2σ(W_g a_i) ⊙ (1 + σ(β + τ cos(F_i, W_m a_i)))   guided by channel and in space
    X_i = separable(G_i + up(X_{i+1})),   m_i = mask(X_i)

Each stage's mask m_i yields the next abstract semantic and takes an auxiliary loss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2rm.model.layers import Pointwise, group_norm


class CASG(nn.Module):
    """Decodes the fused maps of the four stages into mask logits at stride 4, and coarse ones."""

    def __init__(
        self,
        widths: list[int],
        width: int,
        language_width: int | None,
        *,
        language_guidance: bool,
        foreground_guidance: bool,
    ) -> None:
        """`language_width` None: a language-blind model, which no sentence may guide."""
        super().__init__()
        self.language_guidance = language_guidance and language_width is not None
        self.foreground_guidance = foreground_guidance
        sentence_width = language_width if self.language_guidance and language_width else 0
        foreground_width = width if foreground_guidance else 0
        self.lateral = nn.ModuleList(Pointwise(fused, width) for fused in widths)
        self.merge = nn.ModuleList(SeparableConv(width) for _ in widths)
        self.mask = nn.ModuleList(Pointwise(width, 1) for _ in widths)
        # The coarsest stage has no coarser foreground: the sentence is all that can guide it.
        last = len(widths) - 1
        semantics = [sentence_width + (foreground_width if i < last else 0) for i in range(len(widths))]
        self.guide = nn.ModuleList(
            AbstractSemanticGuide(semantic, width) if semantic else NoGuide() for semantic in semantics
        )

    def forward(self, fused: list[Tensor], sentence: Tensor | None) -> list[Tensor]:
        """
        Args:
            fused: F_1..F_4, (N, C_i, H_i, W_i) at strides 4, 8, 16, 32.
            sentence: (N, D); None for a language-blind model.

        Returns: mask logits (N, 1, H_i, W_i), finest (stride 4) first.
        """
        logits: list[Tensor] = []
        coarser = foreground = None
        for i in reversed(range(len(fused))):
            parts = [sentence] if self.language_guidance and sentence is not None else []
            if foreground is not None:
                parts.append(foreground)
            x = self.lateral[i](fused[i])
            x = self.guide[i](x, torch.cat(parts, dim=1) if parts else None)
            if coarser is not None:
                x = x + F.interpolate(coarser, x.shape[-2:], mode="bilinear")
            coarser = self.merge[i](x)
            logits.insert(0, self.mask[i](coarser))
            if self.foreground_guidance and i > 0:  # the finest stage guides no other
                foreground = pool_foreground(coarser, logits[0])
        return logits


class AbstractSemanticGuide(nn.Module):
    """Guides a map by an abstract semantic: per channel (a gate), and in space (a similarity)."""

    def __init__(self, semantic_width: int, width: int) -> None:
        super().__init__()
        self.abstract = nn.Sequential(nn.Linear(semantic_width, width), nn.SiLU())
        self.gate = nn.Linear(width, width)
        self.match = nn.Linear(width, width)
        self.key = Pointwise(width, width)
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.shift = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor, semantic: Tensor) -> Tensor:
        """x: (N, C, H, W); semantic: (N, D') → (N, C, H, W)."""
        abstract = self.abstract(semantic)
        direction = F.normalize(self.match(abstract), dim=1)
        key = self.key(x)
        # The product is divided, not the map: a pass over the map less, forward and backward.
        product = torch.einsum("nchw,nc->nhw", key, direction)
        similarity = product / torch.linalg.vector_norm(key, dim=1).clamp_min(1e-6)
        lift = 1 + torch.sigmoid(self.shift + self.scale * similarity)[:, None]
        return x * (2 * self.gate(abstract).sigmoid())[:, :, None, None] * lift


class NoGuide(nn.Module):
    """A stage that no abstract semantic guides (both guidances off, or nothing coarser yet)."""

    def forward(self, x: Tensor, semantic: Tensor | None) -> Tensor:
        return x


class SeparableConv(nn.Module):
    """Depthwise 3×3, then pointwise: the low cost."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            group_norm(width),
            Pointwise(width, 2 * width),
            nn.ReLU(),  # a GELU costs more, and at stride 4 this is the largest map of all
            Pointwise(2 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def pool_foreground(x: Tensor, logits: Tensor) -> Tensor:
    """The mean of x (N, C, H, W) under the foreground that logits (N, 1, H, W) predict: (N, C)."""
    foreground = logits.sigmoid()
    return (x * foreground).sum((2, 3)) / foreground.sum((2, 3)).clamp_min(1e-4)
