"""S²RM 3: parsed-semantic balancing [paper].

"Self-distilled weights to weigh on the contributions of different parsed semantics" [paper]: the
weights come from the parsed semantics themselves. Ours: the pooled descriptors of all K semantics
→ a small bottleneck → a softmax across the K, per channel.

    w = softmax_k(W_2 φ(W_1 [pool Y_1; …; pool Y_K])),   Y = Σ_k w_k ⊙ Y_k
"""

import torch
from torch import Tensor, nn


class Balance(nn.Module):
    def __init__(self, width: int, semantics: int) -> None:
        super().__init__()
        self.semantics = semantics
        last = nn.Linear(width // 2, semantics * width)
        nn.init.zeros_(last.weight)  # starts as the plain mean
        nn.init.zeros_(last.bias)
        self.weigh = nn.Sequential(nn.Linear(semantics * width, width // 2), nn.SiLU(), last)

    def weights(self, semantics: list[Tensor]) -> Tensor:
        """(N, K, C), summing to 1 over the K semantics (N, C, H, W each)."""
        pooled = torch.cat([semantic.mean((2, 3)) for semantic in semantics], dim=1)
        return self.weigh(pooled).unflatten(1, (self.semantics, -1)).softmax(dim=1)

    def forward(self, semantics: list[Tensor]) -> Tensor:
        """K parsed semantics, (N, C, H, W) each → their balanced sum, (N, C, H, W)."""
        weights = self.weights(semantics)[..., None, None].unbind(1)
        total = semantics[0] * weights[0]
        for semantic, weight in zip(semantics[1:], weights[1:], strict=True):
            total = torch.addcmul(total, semantic, weight)
        return total


class Mean(nn.Module):
    """The plain mean (`fusion.balancing=false`): no weights in the model."""

    def forward(self, semantics: list[Tensor]) -> Tensor:
        return torch.stack(semantics).mean(0)
