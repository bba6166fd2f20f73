"""Image files, whatever they hold, to RGB of 8 bits."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from s2rm.core.errors import UserError

# Pillow knows stranger formats too, some of which start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MOST_PIXELS = 1 << 26  # 67 million, 200 MB in RGB; COCO and SAIAPR have at most 640 × 640


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """An image file in RGB; see `decode_image`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such image") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return decode_image(data, str(path), upright=upright)


def decode_image(data: bytes, name: str, *, upright: bool = False) -> Image.Image:
    """The content of an image file in RGB, 8 bits; CMYK, grey, palettes and 16 bits are converted.

    `upright` turns it as its EXIF says: for users' own photos, not for COCO, whose masks lie on the
    stored pixels. `UserError`, naming it `name`, where it is damaged, no image or too large.
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
    """Grey of 16 bits by its upper 8: Pillow itself would cut all above 255 to white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
