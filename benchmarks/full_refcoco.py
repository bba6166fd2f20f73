"""Generated data of RefCOCO's size and shape, to measure the time and memory of what reads it.

The counts are the official ones: 142,210 sentences of 50,000 refs on 19,994 images with 197,000 objects.
Everything that reading costs resembles COCO: polygons have 26 vertices on average and some have hundreds,
every tenth object has several parts, coordinates have two decimals, and a few crowds are run lengths.

`prepare.py`, `loader.py` and the tests use this module; it is not a benchmark itself.
"""

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2rm.config.benchmarks import get_benchmark
from s2rm.core.files import replace
from s2rm.data.image_zip import ImageZipWriter
from s2rm.refer.provenance import Provenance, write_provenance
from s2rm.refer.split_sizes import load_official

BENCHMARK = get_benchmark("refcoco_unc")
ANNOTATIONS_PER_IMAGE = 9.85  # 197,000 in all
SIZES, SHARES = [(640, 480), (480, 640), (640, 427), (500, 375), (427, 640)], [0.5, 0.18, 0.2, 0.06, 0.06]
MEDIAN_VERTICES, SPREAD, MOST_VERTICES = 20, 0.75, 700  # log-normal: 26.5 on average
PARTS, PART_SHARES = [1, 2, 3, 4], [0.9, 0.06, 0.025, 0.015]
MEDIAN_RADIUS = 45  # of an object, pixels
CROWDS = 0.01  # share of the objects that nothing refers to
CATEGORIES = 80
WORDS = """
    left right man woman in the with on of girl boy guy shirt red white blue black person front back
    bottom top middle center far near close hat kid lady standing sitting holding green yellow car
    chair table bowl plate giraffe elephant zebra horse cow dog cat pizza sandwich cake glass bottle
    bike bus truck train umbrella couch bed tv laptop second third first closest behind next to corner
""".split()  # noqa: SIM905
# Size of the noise's cells in pixels → its standard deviation; fine noise is weak, as in photographs.
NOISE = {256: 60, 64: 35, 16: 22, 4: 14, 1: 6}
# VmHWM, because the ru_maxrss of getrusage starts at the memory of the process that started this one.
PREPARE = """
import time
start = time.perf_counter()
import json, sys
from pathlib import Path
from s2rm.refer.prepare import prepare
from s2rm.config.params import Preprocess
raw, output, statistics = sys.argv[1:]
settings = Preprocess(sentence="raw", faults="refuse", statistics=statistics)
prepare("refcoco_unc", Path(raw), Path(output), settings)
seconds, cpu_seconds = time.perf_counter() - start, time.process_time()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = 1024 * int(status["VmHWM"].split()[0])
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak}))
"""

Jpeg = Callable[[int, int, int], bytes]  # number, width and height of an image → its file


@cache
def _flat(width: int, height: int) -> bytes:
    return _encode(np.full((height, width, 3), (90, 120, 80), np.uint8), quality=75)


def make_flat(_number: int, width: int, height: int) -> bytes:
    """Return a JPEG of one colour, some kB: for readers that do not examine the pixels."""
    return _flat(width, height)


def make_photograph(number: int, width: int, height: int) -> bytes:
    """Return a JPEG of noise at all scales: about 130 kB, like COCO's photographs of the same size."""
    rng = np.random.default_rng([7, number])
    pixels = np.full((height, width, 3), 128, np.float32)
    for cell, deviation in NOISE.items():
        shape = (height // cell + 2, width // cell + 2)
        grey, colour = rng.normal(0, deviation, (*shape, 1)), rng.normal(0, 0.4 * deviation, (*shape, 3))
        planes = np.moveaxis((0.75 * grey + colour).astype(np.float32), 2, 0)
        wide = [Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC) for plane in planes]
        pixels += np.stack(wide, axis=2)
    return _encode(pixels.clip(0, 255).astype(np.uint8), quality=95)


def _encode(pixels: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()


@dataclass(frozen=True)
class Layout:
    """Which image an object belongs to, and which objects are referred to."""

    image_ids: NDArray[np.int64]  # one per image
    sides: NDArray[np.int64]  # width and height, (images, 2)
    splits: list[str]  # one per image
    image: NDArray[np.int64]  # one per object: the number of its image, ascending
    ann_ids: NDArray[np.int64]  # one per object
    sentences: NDArray[np.int64]  # their number, one per object; 0 where nothing refers to it


def write_refcoco(raw: Path, *, scale: float = 1.0, seed: int = 7, jpeg: Jpeg = make_flat) -> None:
    """Write refs, instances, provenance and the zip of the images, in the REFER layout.

    The provenance names a folder of the user, so that `prepare` compares the counts with the official ones.
    The same arguments give the same bytes.

    Args:
        raw: the raw data root.
        scale: share of every count; at 1 they are the official ones.
        seed: of the random values.
        jpeg: makes the image files.
    """
    rng = np.random.default_rng(seed)
    layout = _lay_out(scale, rng)
    categories = rng.integers(1, CATEGORIES + 1, layout.image.size).tolist()
    folder = raw / BENCHMARK.name
    refs = pickle.dumps(list(_refs(layout, categories, rng)), protocol=2)
    replace(folder / f"refs({BENCHMARK.split_by}).p", lambda path: path.write_bytes(refs))
    parts = {
        "images": _images(layout),
        "annotations": _annotations(layout, categories, rng),
        "categories": ({"id": i, "name": f"thing {i}", "supercategory": "thing"} for i in range(1, 81)),
    }
    lists = (f'"{key}": [{", ".join(map(json.dumps, records))}]' for key, records in parts.items())
    replace(folder / "instances.json", lambda path: path.write_text(f"{{{', '.join(lists)}}}"))
    write_provenance(folder, Provenance("folder"))
    with ImageZipWriter((raw / BENCHMARK.images).with_suffix(".zip")) as zipped:
        for number, (image_id, (width, height)) in enumerate(
            zip(layout.image_ids.tolist(), layout.sides.tolist(), strict=True)
        ):
            zipped.add(_file_name(image_id), jpeg(number, width, height))


def prepare_apart(raw: Path, output: Path, statistics: str = "refuse") -> dict[str, float]:
    """Prepare what `write_refcoco` wrote, in a separate process (Linux only).

    Args:
        raw: the raw data root.
        output: folder of the prepared table.
        statistics: `preprocess.statistics`, what a count that is not the official one does.

    Returns:
        `seconds`, `cpu_seconds` and `peak_bytes` of resident memory; all three include the stage's imports.
    """
    command = [sys.executable, "-c", PREPARE, str(raw), str(output), statistics]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def _file_name(image_id: int) -> str:
    return f"COCO_train2014_{image_id:012d}.jpg"


def _share(total: int, takers: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Share `total` things among `takers`, each of which gets at least one."""
    return 1 + rng.multinomial(total - takers, np.full(takers, 1 / takers))


def _lay_out(scale: float, rng: np.random.Generator) -> Layout:
    splits: list[str] = []
    refs, sentences = [], []  # counts: refs per image, sentences per ref
    for row in load_official():
        if (row.benchmark, row.route) == (BENCHMARK.name, "refer"):
            images, referents, expressions = (round(scale * number) for number in row.numbers.values())
            splits += [row.split] * images
            refs.append(_share(referents, images, rng))
            sentences.append(_share(expressions, referents, rng))
    images, referred = len(splits), np.concatenate(refs)
    left = round(ANNOTATIONS_PER_IMAGE * images) - referred.sum()
    objects = referred + rng.multinomial(left, np.full(images, 1 / images))
    image = np.repeat(np.arange(images), objects)
    number = np.arange(image.size) - np.repeat(np.cumsum(objects) - objects, objects)  # within its image
    counts = np.zeros(image.size, np.int64)
    counts[number < referred[image]] = np.concatenate(sentences)
    return Layout(
        image_ids=rng.permutation(600_000)[:images],
        sides=rng.choice(SIZES, images, p=SHARES),
        splits=splits,
        image=image,
        ann_ids=rng.permutation(2_000_000)[: image.size],
        sentences=counts,
    )


def _refs(layout: Layout, categories: list[int], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield the refs in random order, as in REFER's files."""
    weights = 1 / np.arange(2, len(WORDS) + 2)
    sent_id = 0
    for ref_id, index in enumerate(rng.permutation(np.flatnonzero(layout.sentences)).tolist()):
        image_id, ann_id = layout.image_ids[layout.image[index]].item(), layout.ann_ids[index].item()
        sentences = []
        for length in (1 + rng.poisson(2.5, layout.sentences[index])).tolist():
            text = " ".join(rng.choice(WORDS, length, p=weights / weights.sum()))
            sentences.append(
                {"tokens": text.split(), "raw": text.capitalize(), "sent_id": sent_id, "sent": text}
            )
            sent_id += 1
        yield {
            "sent_ids": [sentence["sent_id"] for sentence in sentences],
            "file_name": f"COCO_train2014_{image_id:012d}_{ann_id}.jpg",
            "ann_id": ann_id,
            "ref_id": ref_id,
            "image_id": image_id,
            "split": layout.splits[layout.image[index]],
            "sentences": sentences,
            "category_id": categories[index],
        }


def _images(layout: Layout) -> Iterator[dict[str, Any]]:
    for image_id, (width, height) in zip(layout.image_ids.tolist(), layout.sides.tolist(), strict=True):
        yield {
            "license": 1,
            "file_name": _file_name(image_id),
            "coco_url": f"http://mscoco.org/images/{image_id}",
            "height": height,
            "width": width,
            "date_captured": "2013-11-14 16:28:13",
            "flickr_url": f"http://farm7.staticflickr.com/6116/{image_id}_z.jpg",
            "id": image_id,
        }


def _annotations(layout: Layout, categories: list[int], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    objects = layout.image.size
    parts = rng.choice(PARTS, objects, p=PART_SHARES)
    crowd = (layout.sentences == 0) & (rng.random(objects) < CROWDS)
    vertices = rng.lognormal(np.log(MEDIAN_VERTICES), SPREAD, parts.sum()).clip(4, MOST_VERTICES).astype(int)
    first_part = np.cumsum(parts) - parts
    sides = layout.sides[layout.image]
    middle = rng.uniform(0.1, 0.9, (objects, 2)) * sides
    radius = rng.lognormal(np.log(MEDIAN_RADIUS), 0.8, objects).clip(6, None)
    for i in range(objects):
        width, height = sides[i].tolist()
        if crowd[i]:
            segmentation: Any = {"counts": _runs(width * height, rng), "size": [height, width]}
            x, y, right, bottom = 0.0, 0.0, float(width), float(height)
        else:
            spread = 0.0 if parts[i] == 1 else radius[i]
            segmentation = [
                _outline(
                    count,
                    middle[i] + rng.normal(0, 1, 2) * spread,
                    radius[i] / parts[i] ** 0.5,
                    sides[i],
                    rng,
                )
                for count in vertices[first_part[i] : first_part[i] + parts[i]].tolist()
            ]
            coordinates = [value for polygon in segmentation for value in polygon]
            x, right = min(coordinates[::2]), max(coordinates[::2])
            y, bottom = min(coordinates[1::2]), max(coordinates[1::2])
        yield {
            "segmentation": segmentation,
            "area": round(0.6 * (right - x) * (bottom - y), 5),
            "iscrowd": int(crowd[i]),
            "image_id": layout.image_ids[layout.image[i]].item(),
            "bbox": [x, y, round(right - x, 2), round(bottom - y, 2)],
            "category_id": categories[i],
            "id": layout.ann_ids[i].item(),
        }


def _outline(
    vertices: int, middle: NDArray[Any], radius: float, side: NDArray[Any], rng: np.random.Generator
) -> list[float]:
    """Return a closed, irregular line around a point, x and y in turn, clipped to the image."""
    middle = middle.clip(0.05 * side, 0.95 * side)
    angle = 2 * np.pi * (np.arange(vertices) + rng.random(vertices)) / vertices
    bulge = 1 + 0.25 * np.cos(2 * angle + middle[0]) + 0.12 * np.cos(5 * angle + middle[1])
    points = np.stack([np.cos(angle), np.sin(angle)], 1) * (radius * bulge)[:, None] + middle
    return points.clip(0, side).round(2).ravel().tolist()


def _runs(pixels: int, rng: np.random.Generator) -> list[int]:
    cuts = np.sort(rng.integers(0, pixels + 1, 150))
    return np.diff(cuts, prepend=0, append=pixels).tolist()
