"""Images from files to what the model takes: RGB, a square of `size` pixels, normalised."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from s2rm.errors import UserError


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """An image in RGB; `upright` turns it as its EXIF says (COCO's masks lie on unturned pixels)."""
    try:
        image: Image.Image = Image.open(path)
        image = ImageOps.exif_transpose(image) if upright else image
        return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such image") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None


def to_tensor(image: Image.Image, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(3, size, size) float32: resized without keeping the aspect (as LAVT and ReLA do), normalised."""
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    centre, spread = (np.array(values, dtype=np.float32) for values in (mean, std))
    pixels = (np.asarray(resized, dtype=np.float32) / 255 - centre) / spread
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """A boolean mask (H, W) → (size, size), by the nearest pixel, as the peers resize the truth."""
    return np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
