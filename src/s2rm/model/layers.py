"""The small layers that encoders, fusion and decoder share.

Shapes: B images, N expressions, C channels, H×W positions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_PER_GROUP = 8


class Pointwise(nn.Linear):
    """A 1×1 convolution, computed as the matrix product that it is.

    Equals `nn.Conv2d(in_features, out_features, 1)` in channels-last memory, where it is a view; the weight
    is (C', C). On a CPU the convolution kernels are slower, forward and backward, on small and narrow maps
    (benchmarks/step.py).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """Map (N, C, H, W) to (N, C', H, W)."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` in the dtype of its input, with moments in float32 as always.

    CUDA's autocast computes a group norm, and everything after it, in float32: twice the memory traffic for
    maps that were rounded to bfloat16 before.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """Normalise (N, C, H, W)."""
        if not torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            return F.group_norm(input, self.num_groups, weight, bias, self.eps)


def group_norm(width: int) -> nn.GroupNorm:
    """Return the normalisation of fusion and decoder for maps of C = `width` channels.

    It normalises each expression on its own, so that the other expressions of a batch change nothing. Wu and
    He, "Group Normalization", ECCV 2018, with groups of 8 channels.
    """
    return GroupNorm(width // CHANNELS_PER_GROUP, width)


def coordinate_map(x: Tensor) -> Tensor:
    """Return the coordinates of the pixel centres of x, from −1 to 1 across the map.

    Args:
        x: (…, H, W); sets the size, the device and the dtype.

    Returns:
        (1, 2, H, W), the column first, then the row.
    """
    rows, columns = (
        (2 * torch.arange(size, device=x.device, dtype=x.dtype) + 1) / size - 1 for size in x.shape[-2:]
    )
    grid = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([grid[1], grid[0]])[None]


def expand_to_expressions(maps: Tensor, expression_to_image: Tensor | None) -> Tensor:
    """Give each expression the map of its image.

    Args:
        maps: (B, C, H, W).
        expression_to_image: (N,), in 0..B−1; None where the maps belong to expressions already.

    Returns:
        (N, C, H, W).
    """
    if expression_to_image is None:
        return maps
    expanded: Tensor = Expand.apply(maps.permute(0, 2, 3, 1), expression_to_image)
    return expanded.permute(0, 3, 1, 2)


def upsample(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize (N, C, H, W) bilinearly to `size`, in the dtype of x; CUDA's autocast would take float32."""
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, size, mode="bilinear")


def multiply_add(addend: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return addend + one ⊙ other: a single pass, or two where a gradient is needed.

    The backward pass of torch's `addcmul` multiplies both factors by its scalar 1 first, a pass each.
    """
    if torch.is_grad_enabled():
        return addend + one * other
    return torch.addcmul(addend, one, other)


class Expand(torch.autograd.Function):
    """Select rows; on a GPU the gradient is that of `sum_by_product`.

    torch's own gradient adds row by row with atomic operations on a GPU, rounds after each of them, and is
    not deterministic. On a CPU it adds in a fixed order, and is faster than the product.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        """Select from (B, …) by an index (N,): (N, …)."""
        ctx.save_for_backward(index)
        ctx.count = len(rows)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Sum the gradients, (N, …), of each row: (B, …)."""
        (index,) = ctx.saved_tensors
        if gradient.device.type == "cpu":
            return gradient.new_zeros(ctx.count, *gradient.shape[1:]).index_add_(0, index, gradient), None
        return sum_by_product(gradient, index, ctx.count), None


def sum_by_product(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """Sum the rows (N, …) of each index 0..B−1, (N,): a matrix product with the one-hot index, (B, …)."""
    members = torch.arange(count, device=index.device)[:, None] == index  # (B, N)
    return (members.to(rows.dtype) @ rows.flatten(1)).unflatten(1, rows.shape[1:])
