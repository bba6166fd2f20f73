"""S²RM 3: parsed-semantic balancing [paper].

"Self-distilled weights to weigh on the contributions of different parsed semantics" [paper]: the
weights come from the parsed semantics themselves. The form is ours: the pooled descriptors of all K
semantics pass a small bottleneck and a softmax across the K, per channel [ours]:

    w = softmax_k(W_2 φ(W_1 [pool Y_1; …; pool Y_K]))

The semantics that parse the same context (vision, or language) are summed under these weights, and
the M contexts lie side by side, so that neither modality is added onto the other's channels [ours]:

    Y = M [Σ_{k parses V} w_k ⊙ Y_k; Σ_{k parses L} w_k ⊙ Y_k]

which starts as the mean of each context's semantics.

Shapes: N expressions, C channels, H×W positions, K parsed semantics, M contexts.
"""

import torch
from torch import Tensor, nn

from s2rm.model.layers import multiply_add


class Balance(nn.Module):
    """Weigh the parsed semantics by weights that come from themselves, and sum them by context."""

    def __init__(self, width: int, semantics: int, contexts: int) -> None:
        """Build the bottleneck.

        Args:
            width: channels C.
            semantics: number K of parsed semantics; the first K/M parse the first context, and so on.
            contexts: number M of parsed contexts.
        """
        super().__init__()
        self.semantics = semantics
        self.contexts = contexts
        last = nn.Linear(width // 2, semantics * width)
        nn.init.zeros_(last.weight)  # equal weights at the start: the plain mean
        nn.init.zeros_(last.bias)
        self.weigh = nn.Sequential(nn.Linear(semantics * width, width // 2), nn.SiLU(), last)

    def weights(self, semantics: list[Tensor]) -> Tensor:
        """Compute the weights of the parsed semantics.

        Args:
            semantics: K maps, (N, C, H, W) each.

        Returns:
            w, (N, K, C), which sums to 1 over the K.
        """
        pooled = torch.cat([semantic.mean((2, 3)) for semantic in semantics], dim=1)  # (N, K·C)
        return self.weigh(pooled).unflatten(1, (self.semantics, -1)).softmax(dim=1)

    def forward(self, semantics: list[Tensor]) -> Tensor:
        """Sum the parsed semantics of each context under their weights.

        Args:
            semantics: K maps, (N, C, H, W) each.

        Returns:
            Y, (N, M·C, H, W).
        """
        # A softmax is in float32 under autocast; the maps are not to follow.
        scaled = (self.contexts * self.weights(semantics)).to(semantics[0].dtype)
        weights = scaled[..., None, None].unbind(1)  # K of (N, C, 1, 1)
        each = self.semantics // self.contexts
        sums = []
        for first in range(0, self.semantics, each):
            total = semantics[first] * weights[first]
            for k in range(first + 1, first + each):
                total = multiply_add(total, semantics[k], weights[k])
            sums.append(total)
        return torch.cat(sums, dim=1)


class Mean(nn.Module):
    """The plain mean of each context's semantics (`fusion.balancing=false`), which has no weights."""

    def __init__(self, contexts: int) -> None:
        """Average over the semantics of each of the M `contexts`."""
        super().__init__()
        self.contexts = contexts

    def forward(self, semantics: list[Tensor]) -> Tensor:
        """Average K maps, (N, C, H, W) each, by context: (N, M·C, H, W)."""
        stacked = torch.stack(semantics, dim=1).unflatten(1, (self.contexts, -1))  # (N, M, K/M, C, H, W)
        return stacked.mean(2).flatten(1, 2)
