"""S²RM 3: parsed-semantic balancing [paper].

"Self-distilled weights to weigh on the contributions of different parsed semantics" [paper]: the
weights come from the parsed semantics themselves. Ours: the pooled descriptors of all K semantics
→ a small bottleneck → a softmax across the K, per channel.

    w = softmax_k(W_2 φ(W_1 [pool Y_1; …; pool Y_K]))

The semantics that parse the same context (vision, or language) are summed under these weights, and
the M contexts lie side by side, so that neither modality is added onto the other's channels (ours):

    Y = M [Σ_{k parses V} w_k ⊙ Y_k; Σ_{k parses L} w_k ⊙ Y_k]

which starts as the mean of each context's semantics.
"""

import torch
from torch import Tensor, nn


class Balance(nn.Module):
    def __init__(self, width: int, semantics: int, contexts: int) -> None:
        """`semantics` K, as many of each of the `contexts` M, which they parse one after the other."""
        super().__init__()
        self.semantics = semantics
        self.contexts = contexts
        last = nn.Linear(width // 2, semantics * width)
        nn.init.zeros_(last.weight)  # starts as the plain mean
        nn.init.zeros_(last.bias)
        self.weigh = nn.Sequential(nn.Linear(semantics * width, width // 2), nn.SiLU(), last)

    def weights(self, semantics: list[Tensor]) -> Tensor:
        """(N, K, C), summing to 1 over the K semantics (N, C, H, W each)."""
        pooled = torch.cat([semantic.mean((2, 3)) for semantic in semantics], dim=1)
        return self.weigh(pooled).unflatten(1, (self.semantics, -1)).softmax(dim=1)

    def forward(self, semantics: list[Tensor]) -> Tensor:
        """K parsed semantics, (N, C, H, W) each → the balanced sums of the contexts, (N, M·C, H, W)."""
        weights = (self.contexts * self.weights(semantics))[..., None, None].unbind(1)
        each = self.semantics // self.contexts
        sums = []
        for first in range(0, self.semantics, each):
            total = semantics[first] * weights[first]
            for k in range(first + 1, first + each):
                total = torch.addcmul(total, semantics[k], weights[k])
            sums.append(total)
        return torch.cat(sums, dim=1)


class Mean(nn.Module):
    """The plain mean of each context's semantics (`fusion.balancing=false`): no weights in the model."""

    def __init__(self, contexts: int) -> None:
        super().__init__()
        self.contexts = contexts

    def forward(self, semantics: list[Tensor]) -> Tensor:
        stacked = torch.stack(semantics, dim=1).unflatten(1, (self.contexts, -1))  # (N, M, K/M, C, H, W)
        return stacked.mean(2).flatten(1, 2)
