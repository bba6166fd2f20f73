"""The normalisation of fusion and decoder: by expression, so that batch mates change nothing."""

from torch import nn

CHANNELS_PER_GROUP = 8


def group_norm(width: int) -> nn.GroupNorm:
    """Wu and He, "Group Normalization", ECCV 2018, with groups of 8 channels."""
    return nn.GroupNorm(width // CHANNELS_PER_GROUP, width)
