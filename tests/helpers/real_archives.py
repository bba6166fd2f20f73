"""Archives in the layout of the real ones: real COCO images, real RefCOCO expressions, all benchmarks."""

import json
import pickle
from pathlib import Path
from typing import Any

from served import zip_of

from s2rm.config.benchmarks import BENCHMARKS, COCO_IMAGES, Benchmark
from s2rm.refer.referents import load_instances, load_refs

PICKLE_PROTOCOL = 2  # as Python 2 wrote the real ones


def make_archives(real_data: Path) -> dict[str, bytes]:
    """File name → content. Splits are dealt out by image, half of them to train: the sample has no train."""
    refs, instances = (
        load_refs(real_data / "refcoco" / "refs(unc).p"),
        load_instances(real_data / "refcoco" / "instances.json"),
    )
    archives: dict[str, dict[str, bytes]] = {}
    for benchmark in BENCHMARKS.values():
        members = archives.setdefault(f"{benchmark.dataset}.zip", {})
        folder = benchmark.dataset
        members[f"{folder}/refs({benchmark.split_by}).p"] = pickle.dumps(
            _deal(refs, benchmark), protocol=PICKLE_PROTOCOL
        )
        members[f"{folder}/instances.json"] = json.dumps(_rename(instances, benchmark)).encode()
    images = {path.name: path.read_bytes() for path in (real_data / COCO_IMAGES).iterdir()}
    unused = next(iter(images.values()))
    archives["train2014.zip"] = {f"train2014/{name}": data for name, data in images.items()}
    archives["train2014.zip"] |= {
        f"train2014/COCO_train2014_9{number:011d}.jpg": unused for number in range(5)
    }
    archives["saiapr_tc-12.zip"] = {
        f"saiapr_tc-12/{_referit_name(name)}": data for name, data in images.items()
    }
    return {name: zip_of(members) for name, members in archives.items()}


def _deal(refs: list[Any], benchmark: Benchmark) -> list[Any]:
    """The refs with splits of the benchmark: every second image trains, the others go round.

    Benchmark by benchmark it is the other half that trains, so that they share images across splits.
    """
    images = sorted({ref["image_id"] for ref in refs})
    evaluation, first = benchmark.evaluation_splits, list(BENCHMARKS).index(benchmark.name) // 2
    split = {
        image: evaluation[i // 2 % len(evaluation)] if (i + first) % 2 else "train"
        for i, image in enumerate(images)
    }
    return [{**ref, "split": split[ref["image_id"]]} for ref in refs]


def _rename(instances: dict[str, list[Any]], benchmark: Benchmark) -> dict[str, list[Any]]:
    if benchmark.dataset != "refclef":
        return instances
    images = [{**image, "file_name": _referit_name(image["file_name"])} for image in instances["images"]]
    return {**instances, "images": images}


def _referit_name(coco_name: str) -> str:
    return f"{int(Path(coco_name).stem.rpartition('_')[2])}.jpg"
