"""Reads image files of any mode as RGB with 8 bits per channel, and writes PNG files."""

import io
import logging
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from s2rm.core.errors import UserError
from s2rm.core.files import partial_of, replace

logger = logging.getLogger(__name__)

# Pillow reads more formats than these, and some of them start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
ANIMATED = ("PNG", "WEBP", "TIFF", "GIF")  # what cameras add to a JPEG is not a second picture
MOST_PIXELS = 1 << 26  # 67 million, 200 MB in RGB; COCO and SAIAPR have at most 640 × 640
ORIENTATION = 0x0112  # EXIF
DEPTHS = (8, 12, 16)  # bits of grey that cameras write, in files of 16 or 32 bits


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """Read an image file as RGB; one line says so where only the first of several frames is read.

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
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
    image = decode_image(data, str(path), upright=upright)
    frames = count_frames(open_image(data, str(path)))
    if frames > 1:
        logger.warning("%s has %d frames: the first is used", path, frames)
    return image


def decode_image(data: bytes, name: str, *, upright: bool = False) -> Image.Image:
    """Decode the content of an image file as RGB, as `to_rgb` does.

    Args:
        data: the content.
        name: of the image, for messages.
        upright: whether the image is rotated as its EXIF data says. This is for users' own photos, not for
            COCO, whose masks refer to the stored pixels.

    Raises:
        UserError: the data are not an image or are damaged, or the image is too large.
    """
    image = open_image(data, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about oddities that do not stop it
        try:
            image.load()
            image = ImageOps.exif_transpose(image) if upright else image
        except Exception as error:
            raise _unreadable(name, error) from None
    return to_rgb(image, name)


def check_output(path: Path) -> None:
    """Check that a file can be written, before the work that makes its content.

    Raises:
        UserError: its folder is missing or read-only, it is a folder itself, or its name is too long.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UserError(f"{path} cannot be written: {getattr(error, 'strerror', error)}") from None
    if not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise UserError(f"{path} cannot be written: it is a folder")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UserError(f"{path} cannot be written: permission denied")


def save_png(image: Image.Image, path: Path) -> None:
    """Write an image as PNG, completely or not at all.

    Raises:
        UserError: it cannot be written.
    """
    content = io.BytesIO()
    image.save(content, "PNG")
    try:
        replace(path, lambda partial: partial.write_bytes(content.getvalue()))
    except OSError as error:
        with suppress(OSError):
            partial_of(path).unlink()
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def open_image(data: bytes, name: str) -> Image.Image:
    """Open the content of an image file without decoding it.

    Raises:
        UserError: the data are not an image, or the image is too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        # Pillow's readers raise errors of a dozen kinds on damaged files.
        except Exception as error:
            raise _unreadable(name, error) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UserError(f"{name} has {width} × {height} pixels: at most {MOST_PIXELS:,} are read")
    return image


def is_turned(image: Image.Image, name: str) -> bool:
    """Return whether the EXIF data of an opened image file ask for a rotation.

    Raises:
        UserError: they cannot be read.
    """
    try:
        return bool(image.getexif().get(ORIENTATION, 1) != 1)
    except Exception as error:
        raise _unreadable(name, error) from None


def count_frames(image: Image.Image) -> int:
    """Return how many frames or pages an opened image file has."""
    if image.format not in ANIMATED:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is damaged: it is not read
        return 2


def to_rgb(image: Image.Image, name: str = "the image") -> Image.Image:
    """Convert an image of any of Pillow's modes to RGB; what is transparent becomes white.

    Grey of more than 8 bits, and floating-point numbers, are scaled from 0 … 1 or from the smallest of 8, 12
    and 16 bits that holds the brightest pixel.

    Args:
        image: the image.
        name: of the image, for messages.

    Raises:
        UserError: the pixels cannot be decoded, or are numbers whose range is unknown.
    """
    try:
        if image.mode == "RGB" and not image.has_transparency_data:
            return image
        if image.mode == "LAB":
            lab, rgb = (ImageCms.createProfile(space) for space in ("LAB", "sRGB"))
            converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
            assert converted is not None
            return converted
        if image.mode[0] in "IF":  # I, I;16, F: Pillow would turn all above 255 white, and 0 … 1 black
            return Image.fromarray(_scale(np.asarray(image), name)).convert("RGB")
        if not image.has_transparency_data:
            return image.convert("RGB")
        opaque = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque).convert("RGB")
    except UserError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from None


def _scale(pixels: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Return grey pixels with 8 bits."""
    values = pixels.astype(np.float64)
    least, most = float(values.min()), float(values.max())
    if not (least >= 0 and most < 1 << DEPTHS[-1]):  # NaN is neither
        raise UserError(
            f"{name} has pixels from {least:g} to {most:g}: save it with 8 bits per channel, or with 16 and "
            "values from 0 to 65535"
        )
    if pixels.dtype.kind == "f" and most <= 1:
        return (255 * values).round().astype(np.uint8)
    bits = next(bits for bits in DEPTHS if most < 1 << bits)
    return (values // (1 << bits - 8)).astype(np.uint8)


def _unreadable(name: str, error: Exception) -> UserError:
    if isinstance(error, UnidentifiedImageError):  # its message shows a Python object
        return UserError(f"{name} cannot be read as an image: its content is none of {', '.join(FORMATS)}")
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{name} cannot be read as an image: {reason}")
