"""Writes RefShapes in the layout of the REFER data, so that downstream code is unaware of it.

    <root>/<benchmark>/refs(<split_by>).p     pickle: list of refs
    <root>/<benchmark>/instances.json         COCO: images, annotations, categories
    <root>/images/….zip                       JPEG, uncompressed zip

Ids depend on benchmark, split and index alone: an image gets the same files and ids whichever benchmarks are
written.
"""

import io
import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask
from tqdm import tqdm

from s2rm.config.benchmarks import ALL_BENCHMARKS, STRUCTURED, TWO_HOPS, Benchmark, get_benchmark
from s2rm.config.params import RefShapes
from s2rm.core.signals import ignore_stop_signals
from s2rm.data.image_zip import ImageZipWriter
from s2rm.refer.provenance import Provenance, write_provenance
from s2rm.refshapes.composition import Composition, compose, random_of
from s2rm.refshapes.draw import Rle, band_rles, draw, thing_rle
from s2rm.refshapes.outline import box_of
from s2rm.refshapes.scene import BACKGROUNDS, SHAPES, Thing
from s2rm.refshapes.wording import as_typed

CATEGORIES = {name: number for number, name in enumerate(("person", *SHAPES, *BACKGROUNDS), start=1)}
_SLOTS = [(benchmark.name, split) for benchmark in ALL_BENCHMARKS.values() for split in benchmark.splits]
_INTERLEAVED = 18  # slots whose ids take turns; later ones at the end of the table change none of these
_BLOCK = 1_000_000  # ids of each later slot
_PICKLE_PROTOCOL = 4
_SMALLEST_SHARED = 500  # images; fewer are drawn before a second process has started
_CHUNK = 16  # images that a process receives at a time

Record = dict[str, Any]
Map = Callable[..., Iterator[Any]]


class _Drawn(NamedTuple):
    """Everything about one image except the numbers that run through a benchmark."""

    composition: Composition
    image: Record
    jpeg: bytes
    annotations: list[Record]  # one per region


def write_refshapes(params: RefShapes, benchmarks: list[str], root: Path, progress: bool = True) -> None:
    """Write these benchmarks into the raw data folder; the same parameters give the same bytes.

    Args:
        params: the seed and the numbers of images.
        benchmarks: names of the benchmarks.
        root: the raw data folder.
        progress: whether to show a bar on stderr.

    Raises:
        UserError: a benchmark is unknown.
        RuntimeError: two splits share a scene, which the seed decides.
    """
    chosen = [get_benchmark(name) for name in benchmarks]
    total = sum(_count(params, benchmark, split) for benchmark in chosen for split in benchmark.splits)
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=total, desc="RefShapes", unit="image", disable=not progress))
        zips = {
            folder: stack.enter_context(ImageZipWriter(root / f"{folder}.zip"))
            for folder in dict.fromkeys(benchmark.images for benchmark in chosen)
        }
        in_turn: Map = map
        if total >= _SMALLEST_SHARED:  # each image has its own seed, whichever process draws it
            pool = ProcessPoolExecutor(initializer=ignore_stop_signals)
            stack.callback(pool.shutdown, cancel_futures=True)  # after a signal too: no image more
            in_turn = partial(pool.map, chunksize=_CHUNK)
        for benchmark in chosen:
            _write_benchmark(params, benchmark, root, zips[benchmark.images], bar, in_turn)


def image_id_of(benchmark: str, split: str, index: int) -> int:
    """Return an id that is unique over all benchmarks and splits."""
    slot = _SLOTS.index((benchmark, split))
    return _INTERLEAVED * index + slot + 1 if slot < _INTERLEAVED else _BLOCK * slot + index


def _count(params: RefShapes, benchmark: Benchmark, split: str) -> int:
    sizes = {
        STRUCTURED.name: (params.structured_train_images, params.structured_eval_images),
        TWO_HOPS.name: (params.two_hops_train_images, params.two_hops_eval_images),
    }
    train, evaluation = sizes.get(benchmark.name, (params.train_images, params.eval_images))
    return train if split == "train" else evaluation


def _write_benchmark(
    params: RefShapes, benchmark: Benchmark, root: Path, image_zip: ImageZipWriter, bar: Any, in_turn: Map
) -> None:
    folder = root / benchmark.name
    folder.mkdir(parents=True, exist_ok=True)
    refs: list[Record] = []
    images: list[Record] = []
    annotations: list[Record] = []
    split_of: dict[str, str] = {}
    sentences = 0
    for split in benchmark.splits:
        indices = range(_count(params, benchmark, split))
        made = in_turn(_draw_image, repeat(params.seed), repeat(benchmark), repeat(split), indices)
        for index, (composition, image, jpeg, annotated) in enumerate(made):
            if split_of.setdefault(composition.scene.digest, split) != split:
                raise RuntimeError(f"a scene of {benchmark.name} is in two splits: choose another seed")
            image_zip.add(image["file_name"], jpeg)
            random = random_of(params.seed, benchmark.name, split, index, "typing")
            for referred in composition.refs:
                spoken = [
                    {"tokens": sent.split(), "raw": as_typed(random, sent), "sent_id": sent_id, "sent": sent}
                    for sent_id, sent in enumerate(referred.expressions, start=sentences)
                ]
                sentences += len(spoken)
                refs.append(_ref_record(len(refs), image, annotated[referred.region], split, spoken))
            images.append(image)
            annotations.extend(annotated)
            bar.update()
    _write_files(folder, benchmark, refs, images, annotations)
    write_provenance(folder, Provenance("refshapes"))


def _draw_image(seed: int, benchmark: Benchmark, split: str, index: int) -> _Drawn:
    composition = compose(seed, benchmark.name, split, index)
    image = _image_record(benchmark, image_id_of(benchmark.name, split, index), composition)
    random = random_of(seed, benchmark.name, split, index, "drawing")
    jpeg = io.BytesIO()
    # Chroma subsampling would blur the colours of small things.
    draw(composition.scene, random).save(jpeg, "JPEG", quality=90, subsampling=0)
    annotations = list(_annotations(benchmark, image["id"], composition))
    return _Drawn(composition, image, jpeg.getvalue(), annotations)


def _write_files(
    folder: Path, benchmark: Benchmark, refs: list[Record], images: list[Record], annotations: list[Record]
) -> None:
    with (folder / f"refs({benchmark.split_by}).p").open("wb") as file:
        # A pickle records which equal strings are one object, which depends on the processes; JSON does not.
        pickle.dump(json.loads(json.dumps(refs)), file, protocol=_PICKLE_PROTOCOL)
    used = {annotation["category_id"] for annotation in annotations}
    instances = {
        "info": {"description": f"RefShapes for {benchmark.title}: synthetic, drawn by s2rm", "version": "1"},
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": _supercategory(name)}
            for name, number in CATEGORIES.items()
            if number in used
        ],
    }
    (folder / "instances.json").write_text(json.dumps(instances), encoding="utf-8")


def _supercategory(name: str) -> str:
    return "person" if name == "person" else "shape" if name in SHAPES else "background"


def _image_record(benchmark: Benchmark, image_id: int, composition: Composition) -> Record:
    is_coco = "mscoco" in benchmark.images
    return {
        "license": 1,
        "file_name": f"COCO_train2014_{image_id:012d}.jpg" if is_coco else f"{image_id}.jpg",
        "coco_url": "",
        "height": composition.scene.height,
        "width": composition.scene.width,
        "date_captured": "",
        "flickr_url": "",
        "id": image_id,
    }


def _ref_record(
    ref_id: int, image: Record, annotation: Record, split: str, sentences: list[Record]
) -> Record:
    return {
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "file_name": f"{Path(image['file_name']).stem}_{annotation['id']}.jpg",
        "ann_id": annotation["id"],
        "ref_id": ref_id,
        "image_id": image["id"],
        "split": split,
        "sentences": sentences,
        "category_id": annotation["category_id"],
    }


def _annotations(benchmark: Benchmark, image_id: int, composition: Composition) -> Iterator[Record]:
    """Yield one annotation per region, in the order of `scene.regions`; COCO has no background."""
    scene = composition.scene
    as_rle = benchmark.dataset == "refclef"
    masks = [thing_rle(thing, scene) for thing in scene.things] + (band_rles(scene) if as_rle else [])
    for number, (region, rle) in enumerate(zip(scene.regions, masks, strict=False)):
        segmentation: Any
        if as_rle:
            box = [float(value) for value in coco_mask.toBbox(rle)]
            segmentation = _json_rle(rle)
        else:
            assert isinstance(region, Thing)
            x0, y0, x1, y1 = box_of(region.parts)
            box = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
            segmentation = [part.ravel().tolist() for part in region.parts]
        yield {
            "segmentation": segmentation,
            "area": float(coco_mask.area(rle)),
            "iscrowd": 0,
            "image_id": image_id,
            "bbox": box,
            "category_id": CATEGORIES[region.category],
            "id": image_id * 100 + number,
        }


def _json_rle(rle: Rle) -> Record:
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
