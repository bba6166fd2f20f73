"""A 1×1 convolution as the matrix product that it is.

On channels-last maps that is a view. The convolution kernels of a CPU take twice the time for it,
forward and backward, where maps are small and narrow (benchmarks/pointwise.py).
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Pointwise(nn.Conv2d):
    """`nn.Conv2d(inputs, outputs, 1)`: the same weights, the same result, in channels-last memory."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """(N, C, H, W) → (N, C', H, W)."""
        return F.linear(input.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)
