"""Image files with random damage give an image or one line."""

import io
import warnings
from functools import cache
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import is_one_line, mutate_bytes, randoms
from PIL import Image

from s2rm.core.errors import UserError
from s2rm.data.images import MOST_PIXELS, count_frames, decode_image, open_image

pytestmark = pytest.mark.fuzz

KINDS = [
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(("PNG", mode) for mode in ("RGB", "RGBA", "P", "1", "I;16")),
    *(("TIFF", mode) for mode in ("RGB", "F", "I;16", "CMYK")),
    *(("WEBP", "RGBA"), ("BMP", "RGB"), ("GIF", "P"), ("MPO", "RGB")),
]


@cache
def sound(kind: str, mode: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image = image.convert("L").convert(mode) if mode[0] in "IF" else image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    frames = {"save_all": True, "append_images": [image.rotate(180)]} if kind in ("GIF", "MPO") else {}
    image.save(file, kind, **frames, **({} if kind in ("BMP", "GIF") else {"exif": exif}))
    return file.getvalue()


def check(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of Pillow would be a second line
        try:
            image = decode_image(data, "a.png", upright=True)
            frames = count_frames(open_image(data, "a.png"))
        except UserError as error:
            assert is_one_line(error), str(error)  # noqa: PT017
            return
    assert image.mode == "RGB"
    assert 0 < image.width * image.height <= MOST_PIXELS
    assert np.asarray(image).shape == (image.height, image.width, 3)
    assert frames >= 1


@given(kind=st.sampled_from(KINDS), random=randoms)
@settings(max_examples=150)
def test_a_damaged_image_is_an_image_or_one_line(kind: tuple[str, str], random: Random) -> None:
    check(mutate_bytes(sound(*kind), random))


@pytest.mark.slow
@given(kind=st.sampled_from(KINDS), random=randoms)
@settings(max_examples=5_000)
def test_an_image_damaged_in_many_ways_is_an_image_or_one_line(kind: tuple[str, str], random: Random) -> None:
    check(mutate_bytes(sound(*kind), random))
