"""The masks decode, agree with their boxes, and lie where the picture shows the thing."""

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.data.image_zip import ImageFiles
from s2rm.refshapes import compose
from s2rm.refshapes.scene import COLOURS


def _decode(segmentation, image):
    if isinstance(segmentation, dict):
        assert segmentation["size"] == [image["height"], image["width"]]
        return coco_mask.decode(segmentation).astype(bool)
    parts = coco_mask.decode(coco_mask.frPyObjects(segmentation, image["height"], image["width"]))
    return parts.any(axis=2)


def _interior(mask):
    """Without the pixels at the border, where the drawing is blended."""
    core = mask.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            core &= np.roll(mask, step, axis)
    return core


@pytest.mark.parametrize("name", BENCHMARKS)
def test_masks_and_boxes(written, name):
    instances = written.instances[name]
    images = {image["id"]: image for image in instances["images"]}
    categories = {category["id"]: category["name"] for category in instances["categories"]}
    for annotation in instances["annotations"]:
        image, segmentation = images[annotation["image_id"]], annotation["segmentation"]
        assert isinstance(segmentation, dict) == (name == "referit_berkeley")
        mask = _decode(segmentation, image)
        assert mask.sum() == annotation["area"] > 0
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y, width, height = annotation["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + width <= image["width"]
        assert y + height <= image["height"]
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert np.abs(found - [x, y, x + width, y + height]).max() <= 2, "no pixel lies mostly in a thin tip"
        if categories[annotation["category_id"]] == "person" and name != "referit_berkeley":
            assert len(segmentation) == 2, "head and body"


def test_background_has_holes_where_things_are(written):
    """In ReferIt the masks of an image share no pixel and leave none out."""
    instances = written.instances["referit_berkeley"]
    for image in instances["images"]:
        masks = [
            _decode(annotation["segmentation"], image)
            for annotation in instances["annotations"]
            if annotation["image_id"] == image["id"]
        ]
        assert (np.sum(masks, axis=0) == 1).all()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_drawing_agrees_with_the_mask(written, name):
    benchmark, instances = BENCHMARKS[name], written.instances[name]
    for index, image in enumerate(instances["images"][:10]):
        scene = compose(7, name, "train", index).scene
        assert (scene.width, scene.height) == (image["width"], image["height"])
        data = ImageFiles(written.root).read(f"{benchmark.images}/{image['file_name']}")
        with Image.open(io.BytesIO(data)) as opened:
            pixels = np.asarray(opened, dtype=float)
        annotations = [each for each in instances["annotations"] if each["image_id"] == image["id"]]
        for thing, annotation in zip(scene.things, annotations, strict=name != "referit_berkeley"):
            core = _interior(_decode(annotation["segmentation"], image))
            colour = np.median(pixels[core], axis=0)
            assert np.abs(colour - COLOURS[thing.colour]).max() <= 20
            nearest = min(COLOURS, key=lambda each: np.abs(colour - COLOURS[each]).sum())
            assert nearest == thing.colour


@pytest.mark.parametrize("name", BENCHMARKS)
def test_small_and_big_are_clearly_apart_and_large_enough(name):
    for index in range(30):
        scene = compose(7, name, "train", index).scene
        image_side = (scene.width * scene.height) ** 0.5
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            side = ((x1 - x0) * (y1 - y0)) ** 0.5 / image_side * 96
            assert (18 < side < 26) if thing.size == "small" else (27 < side < 39)
            assert min((x1 - x0) / scene.width, (y1 - y0) / scene.height) * 96 >= 13
