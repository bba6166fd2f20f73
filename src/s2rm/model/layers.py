"""The small layers that encoders, fusion and decoder share.

Shapes: B images, N expressions, C channels, H×W positions.
"""

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


def group_norm(width: int) -> nn.GroupNorm:
    """Return the normalisation of fusion and decoder for maps of C = `width` channels.

    It normalises each expression on its own, so that the other expressions of a batch change nothing. Wu and
    He, "Group Normalization", ECCV 2018, with groups of 8 channels.
    """
    return nn.GroupNorm(width // CHANNELS_PER_GROUP, width)


def expand_to_expressions(maps: Tensor, expression_to_image: Tensor | None) -> Tensor:
    """Give each expression the map of its image.

    The maps are selected as (B, H, W, C), so that channels-last memory is kept; `maps[index]` would keep it
    too, but its backward pass is ten times slower.

    Args:
        maps: (B, C, H, W).
        expression_to_image: (N,), in 0..B−1; None where the maps belong to expressions already.

    Returns:
        (N, C, H, W).
    """
    if expression_to_image is None:
        return maps
    return maps.permute(0, 2, 3, 1).index_select(0, expression_to_image).permute(0, 3, 1, 2)
