"""Reads ReferIt from its original files (JSON queries, masks as MATLAB matrices) into REFER's raw lists.

    <folder>/referit_query_{train,val,test}.json    {"<image>_<crop>": [sentence, …]}
    <folder>/referit_imsize.json                    {"<image>.jpg": [width, height]}
    <folder>/referit_bbox.json                      {"<image>_<crop>": [xmin, ymin, xmax, ymax]}
    <folder>/masks.zip                              <image>_<crop>.mat: a matrix `segimg_t`, 0 in the crop

The files are those of ronghanghu/text_objseg at be664d6 (earlier, the boxes' keys ended in .png). Its
`util/eval_tools.py` shows that a box includes its xmax and ymax, `util/io.py` that 0 is foreground;
`exp-referit/build_training_batches_seg.py` combines image, mask and sentences.

A mask is a MAT-file of level 5 (`s2rm.refer.matfile`). Memory and time are bounded by the image's size on
record, which in turn is bounded by LARGEST_SIDE.

https://github.com/ronghanghu/text_objseg/tree/be664d66c72319363691628958727124ea38cad8/exp-referit
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from s2rm.core.errors import UserError
from s2rm.core.files import load_json
from s2rm.data.image_zip import ZipImages
from s2rm.data.rle import SegmentationError, encode
from s2rm.refer.issues import Issues
from s2rm.refer.matfile import read_matrix

SPLITS = ("train", "val", "test")
MASKS = "masks.zip"
KEY = re.compile(r"(0|[1-9][0-9]{0,17})_(0|[1-9][0-9]{0,17})")  # below 10¹⁸: ids are int64
LARGEST_SIDE = 4096  # pixels; most of ReferIt's images are 480 × 360
CATEGORY = {"id": 0, "name": ""}  # the files name no category
VARIABLE = "segimg_t"  # of the MAT-files


@dataclass(frozen=True, slots=True)
class Crop:
    """A region of an image, with at least one sentence that refers to it."""

    key: str  # <image>_<crop>, as in the files
    image_id: int
    number: int  # of the crop in its image
    split: str
    sentences: list[str]


def load_queries(folder: Path, issues: Issues) -> tuple[list[Any], dict[str, list[Any]]]:
    """Return the raw refs and instances, in the form of `referents.load_refs` and `referents.load_instances`.

    Each crop becomes one ref and one annotation with the same id: the crop's position in the order of image
    and crop number. Sentences are counted in that order too, so the ids depend on the queries alone.

    Args:
        folder: the folder of the original files.
        issues: what is wrong with a crop is added to it; the crop is left out.

    Raises:
        UserError: a file is missing or corrupt.
    """
    crops = _read_crops(folder, issues)
    sizes = _load_mapping(folder / "referit_imsize.json")
    boxes = _load_mapping(folder / "referit_bbox.json")
    masks = ZipImages(folder / MASKS)
    images = _read_images({crop.image_id for crop in crops}, sizes, issues)
    refs, annotations, sent_id = [], [], 0
    for ref_id, crop in enumerate(tqdm(crops, desc="masks", unit="mask", disable=None)):
        first, sent_id = sent_id, sent_id + len(crop.sentences)
        image = images.get(crop.image_id)
        mask = None if image is None else _read_mask(masks, crop.key, image, issues)
        if mask is not None:
            refs.append(_ref(ref_id, crop, first))
            annotations.append(_annotation(ref_id, crop, mask, boxes.get(crop.key)))
    return refs, {"images": list(images.values()), "annotations": annotations, "categories": [CATEGORY]}


def mentioned_crops(folder: Path) -> list[Crop]:
    """Return the crops whose images and masks `load_queries` needs, from the queries alone.

    Raises:
        UserError: a query file is missing or corrupt.
    """
    return _read_crops(folder, Issues())


def _load_mapping(path: Path) -> dict[str, Any]:
    mapping = load_json(path)
    if not isinstance(mapping, dict):
        raise UserError(f"{path} holds {type(mapping).__name__}, not ReferIt's mapping")
    return mapping


def _read_crops(folder: Path, issues: Issues) -> list[Crop]:
    """Return the crops of all splits that have sentences, ordered by image and number."""
    crops: dict[str, Crop] = {}
    conflicting = set()
    for split in SPLITS:
        for index, (key, sentences) in enumerate(
            _load_mapping(folder / f"referit_query_{split}.json").items()
        ):
            name = KEY.fullmatch(key)
            if not name:
                issues.add(
                    "malformed_ref",
                    f"{split} query #{index}",
                    f"{split} query #{index}: {ascii(key)[:40]} is not <image>_<crop>",
                )
            elif not isinstance(sentences, list) or not all(isinstance(text, str) for text in sentences):
                issues.add("malformed_ref", key, f"crop {key}: its value is not a list of sentences")
            elif sentences and key in crops:
                conflicting.add(key)
            elif sentences:
                crops[key] = Crop(key, int(name[1]), int(name[2]), split, sentences)
    for key in sorted(conflicting):
        issues.add("conflicting_ref", key, f"crop {key} is in two splits")
        del crops[key]
    return sorted(crops.values(), key=lambda crop: (crop.image_id, crop.number))


def _read_images(ids: set[int], sizes: dict[str, Any], issues: Issues) -> dict[int, dict[str, Any]]:
    """Return the records of the images whose size is known, by id."""
    images = {}
    for image_id in sorted(ids):
        size = sizes.get(f"{image_id}.jpg")
        if (
            isinstance(size, list)
            and len(size) == 2
            and all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in size)
        ):
            width, height = size
            file_name = f"{image_id}.jpg"
            images[image_id] = {"id": image_id, "file_name": file_name, "width": width, "height": height}
        else:
            reason = f"referit_imsize.json has no valid width and height for {image_id}.jpg"
            issues.add("image_size", image_id, reason)
    return images


def _ref(ref_id: int, crop: Crop, first_sent_id: int) -> dict[str, Any]:
    sentences = []
    for sent_id, raw in enumerate(crop.sentences, first_sent_id):
        tokens = raw.split()
        sentences.append({"sent_id": sent_id, "raw": raw, "sent": " ".join(tokens), "tokens": tokens})
    return {
        "ref_id": ref_id,
        "ann_id": ref_id,
        "image_id": crop.image_id,
        "category_id": CATEGORY["id"],
        "split": crop.split,
        "file_name": f"{crop.image_id}.jpg",
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "sentences": sentences,
    }


def _annotation(ann_id: int, crop: Crop, mask: NDArray[np.bool_], corners: Any) -> dict[str, Any]:
    box = None  # `read_instances` reports it
    if isinstance(corners, list) and len(corners) == 4 and all(type(corner) is int for corner in corners):
        left, top, right, bottom = corners
        box = [left, top, right - left + 1, bottom - top + 1]
    return {
        "id": ann_id,
        "image_id": crop.image_id,
        "category_id": CATEGORY["id"],
        "bbox": box,
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(mask.shape), "counts": encode(mask)},
    }


def _read_mask(masks: ZipImages, key: str, image: dict[str, Any], issues: Issues) -> NDArray[np.bool_] | None:
    """Return the crop's mask (height, width); None where there is none, which is reported."""
    name = f"{key}.mat"
    if name not in masks:
        issues.add("mask_missing", key, f"{MASKS} has no {name}")
        return None
    try:
        return read_matrix(masks.read(name), VARIABLE, image["height"], image["width"]) == 0
    except SegmentationError as error:
        issues.add(error.kind, key, f"{name}: {error}")
        return None
