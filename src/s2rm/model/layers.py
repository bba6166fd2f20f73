"""A 1×1 convolution as the matrix product that it is.

On channels-last maps that is a view. A CPU's convolution kernels are slower at it, both forward and backward,
where maps are small and narrow (benchmarks/step.py).
"""

from torch import Tensor, nn


class Pointwise(nn.Linear):
    """`nn.Conv2d(in_features, out_features, 1)` in channels-last memory; the weight is (C', C)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """(N, C, H, W) → (N, C', H, W)."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
