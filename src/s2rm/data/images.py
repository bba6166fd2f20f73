"""Decodes image files of any mode to RGB with 8 bits per channel."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from s2rm.core.errors import UserError

# Pillow reads more formats than these, and some of them start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MOST_PIXELS = 1 << 26  # 67 million, 200 MB in RGB; COCO and SAIAPR have at most 640 × 640


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """Read an image file as RGB.

    Args:
        path: of the file.
        upright: see `decode_image`.

    Raises:
        UserError: the file is missing or cannot be read as an image, or the image is too large.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such image") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return decode_image(data, str(path), upright=upright)


def decode_image(data: bytes, name: str, *, upright: bool = False) -> Image.Image:
    """Decode the content of an image file as RGB; CMYK, grey, palettes and 16 bits are converted.

    Args:
        data: the content.
        name: of the image, for messages.
        upright: whether the image is rotated as its EXIF data says. This is for users' own photos, not for
            COCO, whose masks refer to the stored pixels.

    Raises:
        UserError: the data are not an image or are damaged, or the image is too large.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise UserError(f"{name} has {width} × {height} pixels: at most {MOST_PIXELS:,} are read")
        image = ImageOps.exif_transpose(image) if upright else image
        return _to_eight_bits(image).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} cannot be read as an image: {error}") from None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Reduce 16-bit grey to its upper 8 bits; Pillow would turn everything above 255 white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
