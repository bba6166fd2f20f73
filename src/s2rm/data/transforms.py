"""Turns images into what the model takes: squares of `size` pixels, normalised.

Shapes: H×W pixels.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_pixels(image: Image.Image, size: int) -> Tensor:
    """Resize an image; its aspect ratio is not kept, as in LAVT and ReLA.

    Args:
        image: in RGB.
        size: side of the square, in pixels.

    Returns:
        (3, size, size), uint8: a quarter of the memory of what `normalise` makes of it.
    """
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.empty((3, size, size), dtype=np.uint8)
    for plane, band in zip(pixels, resized.split(), strict=True):
        plane[:] = np.asarray(band)
    return torch.from_numpy(pixels)


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Normalise images, on their device.

    Args:
        pixels: (…, 3, H, W), uint8.
        mean: of the colour channels in 0…1, subtracted.
        std: of the colour channels in 0…1, divided by.

    Returns:
        (…, 3, H, W), float32.
    """
    centre, spread = (torch.tensor(each, device=pixels.device)[:, None, None] for each in (mean, std))
    return pixels.float().div_(255).sub_(centre).div_(spread)
