"""From maps of images to maps of expressions."""

from torch import Tensor


def expand_to_expressions(maps: Tensor, expression_to_image: Tensor | None) -> Tensor:
    """(B, C, H, W) → (N, C, H, W): each expression gets its image's map (None: they are one already).

    Selected as (B, H, W, C), so that a map in channels-last memory stays so; `maps[index]` would
    too, but its backward pass is ten times slower.
    """
    if expression_to_image is None:
        return maps
    return maps.permute(0, 2, 3, 1).index_select(0, expression_to_image).permute(0, 3, 1, 2)
