"""A tiny data set in the REFER layout, for tests to break."""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from PIL import Image

from s2rm.config.benchmarks import get_benchmark
from s2rm.config.params import Preprocess
from s2rm.data.table import load_objects, load_table
from s2rm.refer.prepare import prepare


def _sentence(sent_id: int, text: str) -> dict[str, Any]:
    return {"sent_id": sent_id, "sent": text, "raw": text.upper() + "!", "tokens": text.split()}


def _ref(ref_id: int, image_id: int, split: str, texts: list[str]) -> dict[str, Any]:
    sentences = [_sentence(10 * ref_id + index, text) for index, text in enumerate(texts)]
    return {
        "ref_id": ref_id,
        "ann_id": 100 + ref_id,
        "image_id": image_id,
        "category_id": 1,
        "split": split,
        "file_name": f"COCO_{image_id}_{100 + ref_id}.png",
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "sentences": sentences,
    }


def _annotation(ref_id: int, image_id: int, x: int) -> dict[str, Any]:
    square, box = [x, 4, x + 8, 4, x + 8, 12, x, 12], [x - 0.5, 4.0, 9.0, 8.0]
    return {
        "id": 100 + ref_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": box,
        "segmentation": [square],
        "iscrowd": 0,
    }


@dataclass
class TinyRefer:
    """RefCOCO with three refs on two images of 20 × 30 pixels; change anything before `write`."""

    raw: Path
    benchmark: str = "refcoco_unc"
    sizes: dict[str, tuple[int, int]] = field(default_factory=lambda: {"1.png": (30, 20), "2.png": (30, 20)})
    refs: list[Any] = field(
        default_factory=lambda: [
            _ref(1, 1, "train", ["left one", "the one on the left"]),
            _ref(2, 1, "train", ["right one"]),
            _ref(3, 2, "val", ["only one", "the one in the middle", "it"]),
        ]
    )
    instances: dict[str, Any] = field(
        default_factory=lambda: {
            "images": [{"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in (1, 2)],
            "annotations": [_annotation(1, 1, 2), _annotation(2, 1, 18), _annotation(3, 2, 10)],
            "categories": [{"id": 1, "name": "shape"}, {"id": 2, "name": "other"}],
        }
    )

    @property
    def folder(self) -> Path:
        return self.raw / self.benchmark

    @property
    def images(self) -> Path:
        return self.raw / get_benchmark(self.benchmark).images

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.images.mkdir(parents=True, exist_ok=True)
        refs_file = self.folder / f"refs({get_benchmark(self.benchmark).split_by}).p"
        refs_file.write_bytes(pickle.dumps(self.refs, protocol=2))
        (self.folder / "instances.json").write_text(json.dumps(self.instances))
        for name, size in self.sizes.items():
            Image.new("RGB", size).save(self.images / name)

    def prepare(
        self,
        faults: Literal["repair", "refuse"] = "repair",
        sentence: Literal["sent", "raw"] = "sent",
        statistics: Literal["refuse", "warn"] = "refuse",
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        self.write()
        output = self.raw.parent / "prepared"
        statistics = prepare(
            self.benchmark,
            self.raw,
            output,
            Preprocess(sentence=sentence, faults=faults, statistics=statistics),
        )
        return load_table(output / f"{self.benchmark}.parquet"), statistics

    def objects(self) -> pd.DataFrame:
        """The table of objects that `prepare` wrote."""
        return load_objects(self.raw.parent / "prepared" / f"{self.benchmark}-objects.parquet")
