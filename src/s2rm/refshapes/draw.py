"""Draws a scene and computes the exact mask of each of its regions.

Things are drawn with antialiasing from the same polygons that are their masks; a band's mask is the part of
it that no thing covers.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from s2rm.refshapes.scene import BACKGROUNDS, COLOURS, Band, Scene, Thing

SKINS = ((226, 168, 132), (188, 126, 90), (160, 104, 74))
_OVERSAMPLING = 4

Rle = dict[str, Any]  # pycocotools' compressed RLE: size [height, width], counts


def draw(scene: Scene, rng: Random) -> Image.Image:
    """Return the scene as an RGB image.

    Args:
        scene: the scene.
        rng: draws grain, shades and skin colours.
    """
    image = Image.fromarray(_draw_bands(scene, rng))
    for thing in scene.things:
        shade = tuple(rng.randint(-9, 9) for _ in range(3))
        fills = [_shaded(COLOURS[thing.colour], shade)]
        if thing.is_person:
            fills.insert(0, _shaded(rng.choice(SKINS), shade))
        for part, fill in zip(thing.parts, fills, strict=True):
            _paste_polygon(image, part, fill)
    return image


def thing_rle(thing: Thing, scene: Scene) -> Rle:
    """Return the union of a thing's polygons as one RLE of the scene's size."""
    polygons = [part.ravel().tolist() for part in thing.parts]
    return coco_mask.merge(coco_mask.frPyObjects(polygons, scene.height, scene.width))


def band_rles(scene: Scene) -> list[Rle]:
    """Return the visible part of each band as an RLE: the strip without the things in front of it."""
    things = coco_mask.merge([thing_rle(thing, scene) for thing in scene.things])
    free = coco_mask.decode(things) == 0
    owners = _band_of_pixels(scene)
    return [
        coco_mask.encode(np.asfortranarray((owners == number) & free, dtype=np.uint8))
        for number in range(len(scene.bands))
    ]


def _shaded(colour: Sequence[int], shade: Sequence[int]) -> tuple[int, ...]:
    return tuple(min(255, max(0, value + offset)) for value, offset in zip(colour, shade, strict=True))


def _paste_polygon(image: Image.Image, polygon: NDArray[np.float64], fill: tuple[int, ...]) -> None:
    """Draw a polygon at four times the size, in its own window only, and average down."""
    x0, y0 = np.floor(polygon.min(axis=0)).astype(int).tolist()
    x1, y1 = np.ceil(polygon.max(axis=0)).astype(int).tolist()
    window = Image.new("L", ((x1 - x0) * _OVERSAMPLING, (y1 - y0) * _OVERSAMPLING))
    # PIL's coordinates are pixel centres, ours pixel corners: half a (small) pixel apart.
    corners = (polygon - (x0, y0)) * _OVERSAMPLING - 0.5
    ImageDraw.Draw(window).polygon(corners.ravel().tolist(), fill=255)
    image.paste(fill, (x0, y0), window.reduce(_OVERSAMPLING))


def _band_of_pixels(scene: Scene) -> NDArray[np.int64]:
    """Return the number of the band at each pixel (height, width)."""
    rows = np.arange(scene.height)[:, None] + 0.5
    slope = (np.arange(scene.width)[None, :] + 0.5) / scene.width - 0.5
    owners = np.zeros((scene.height, scene.width), dtype=np.int64)
    for number, band in enumerate(scene.bands[1:], start=1):
        owners[rows >= band.box[1] + 2 * band.tilt * slope] = number
    return owners


def _draw_bands(scene: Scene, rng: Random) -> NDArray[np.uint8]:
    """Draw the bands with texture, a slight gradient of light and grain (height, width, 3)."""
    noise = np.random.default_rng(rng.getrandbits(64))
    colours = np.array([_band_colour(band, rng) for band in scene.bands], dtype=np.float32)
    owners = _band_of_pixels(scene)
    light = np.linspace(rng.uniform(-8, 8), rng.uniform(-8, 8), scene.height, dtype=np.float32)[:, None]
    light = light + 3 * noise.standard_normal(owners.shape, dtype=np.float32)
    for number, band in enumerate(scene.bands):
        texture = _texture(band.category, scene, rng)
        if texture is not None:
            light = light + np.where(owners == number, texture, 0)
    return np.clip(colours[owners] + light[:, :, None], 0, 255).astype(np.uint8)


def _band_colour(band: Band, rng: Random) -> list[float]:
    return [value + rng.uniform(-7, 7) for value in BACKGROUNDS[band.category]]


def _texture(category: str, scene: Scene, rng: Random) -> NDArray[np.float32] | None:
    """Return what brightens and darkens a kind of background (waves, planks, tufts), or None."""
    y = np.arange(scene.height, dtype=np.float32)[:, None]
    x = np.arange(scene.width, dtype=np.float32)[None, :]
    phase = rng.uniform(0, 6)
    if category == "sea":
        return 9 * np.sin(y * 0.9 + 1.5 * np.sin(x * 0.15 + phase))
    if category == "floor":
        return np.where((y + phase) % 12 < 1.2, np.float32(-22), np.float32(0)) + 0 * x
    if category == "wall":
        return 5 * np.sign(np.sin(x * 0.35 + phase)) + 0 * y
    if category == "grass":
        return 7 * np.sin(x * 1.9 + phase) * np.sin(y * 1.3 + 2 * phase)
    return None
