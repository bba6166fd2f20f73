"""Cost of large training sets: time from the start of a training to its first batch, and resident memory.

    python benchmarks/growth.py --json [--expressions 142000 1000000 5000000]

The tables are made up, ten expressions per image, and every path gives the same picture. Each training is a
process of its own with two loader processes: that of params.yaml, from a small pretrained BERT.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from timing import build_parser, describe_machine, print_result

from s2rm.config.benchmarks import COCO_IMAGES
from s2rm.core.errors import exit_on_user_error
from s2rm.data.rle import encode
from s2rm.data.table import SCHEMA

SIZES = (142_000, 1_000_000, 5_000_000)
PER_IMAGE, PART, VALIDATION = 10, 250_000, 500
NAME, IMAGES = "refcoco_unc", COCO_IMAGES
WIDTH, HEIGHT = 640, 480
WORDS = ["the", "a", "left", "right", "red", "blue", "big", "man", "woman", "dog", "cat", "bus", "on", "next"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_table(path: Path, splits: dict[str, int]) -> None:
    """Write a prepared table with these numbers of expressions."""
    rng = np.random.default_rng(0)
    masks = [encode(mask) for mask in make_masks(rng, 500)]
    words = np.array(WORDS)
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for split, count in splits.items():
            for first in range(0, count, PART):
                rows = np.arange(first, min(first + PART, count))
                chosen = words[rng.integers(len(words), size=(len(rows), 5))]
                writer.write_table(
                    pa.table(
                        {
                            "benchmark": [NAME] * len(rows),
                            "split": [split] * len(rows),
                            "image_id": rows // PER_IMAGE,
                            "image_path": [f"{IMAGES}/{split}-{row // PER_IMAGE:09}.jpg" for row in rows],
                            "height": np.full(len(rows), HEIGHT),
                            "width": np.full(len(rows), WIDTH),
                            "ref_id": rows,
                            "ann_id": rows,
                            "sent_id": rows,
                            "expression": [" ".join(each) for each in chosen],
                            "category": [""] * len(rows),
                            "box": [[0.0, 0.0, 9.0, 9.0]] * len(rows),
                            "mask_rle": [masks[i] for i in rng.integers(len(masks), size=len(rows))],
                            "mask_area": np.ones(len(rows), dtype=int),
                        },
                        SCHEMA,
                    )
                )


def make_masks(rng: np.random.Generator, count: int) -> Iterator[np.ndarray]:
    """Yield ellipses, whose codes are about as long as those of annotated objects."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(count):
        cy, cx, ry, rx = rng.uniform((100, 100, 20, 20), (380, 540, 100, 100))
        yield ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1


def write_bert(folder: Path) -> None:
    """Write a small BERT with its tokenizer."""
    from transformers import BertConfig, BertModel, BertTokenizer

    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    sizes = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 384}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)


def memory(process: int) -> dict[str, float]:
    """Return resident and proportional memory of a process, GB."""
    found = dict(
        re.findall(r"^(Rss|Pss):\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.M)
    )
    return {name.lower(): int(value) * 1024 / 1e9 for name, value in found.items()}


def measure(root: Path) -> None:
    """Run a training up to its first batch and print what it took."""
    from s2rm.acquire.hub.fetch_encoders import fetch_weights
    from s2rm.config.load import load_params
    from s2rm.data.image_zip import ImageFiles
    from s2rm.training import loop
    from s2rm.training.epoch import EpochLoop

    params = load_params(
        overrides=[
            f"data.benchmarks=[{NAME}]",
            "~runs",
            f"+runs={{big: {{train_on: [{NAME}], evaluate_on: [{NAME}]}}}}",
            f"language.pretrained={root / 'bert'}",
            "train.workers=2",
            "train.device=cpu",
        ]
    )
    weights = {"store": root / "store", "revisions": {}, "pin": lambda *_: None, "offline": True}
    fetch_weights(params.vision, params.language, root / "weights", **weights)
    picture = (root / "picture.jpg").read_bytes()
    ImageFiles.read = lambda self, path: picture  # type: ignore[method-assign]

    def first_batch(self: EpochLoop, *_: Any) -> None:
        batches = iter(self.loader)  # its processes end with it
        next(batches)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        loaders = [memory(int(child)) for child in children]
        found = {
            "seconds": time.time() - float(os.environ["STARTED"]),
            "trainer": memory(os.getpid()),
            "loader": max(loaders, key=lambda each: each["rss"]),
        }
        print(json.dumps(found), flush=True)
        os._exit(0)  # without the training

    EpochLoop.run = first_batch  # type: ignore[assignment]
    folders = {"prepared": root / "prepared", "raw": root / "raw", "weights": root / "weights"}
    loop.train_run(params, params.get_run("big"), **folders, output=root / "model", scratch=root / "scratch")


def main() -> None:
    """Measure each size."""
    parser = build_parser(__doc__)
    parser.add_argument("--expressions", type=int, nargs="+", default=list(SIZES), help="sizes of the tables")
    parser.add_argument("--measure", type=Path, help="the folder of one table (used by this script itself)")
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    found: dict[str, Any] = {}
    for size in arguments.expressions:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name in ("prepared", f"raw/{IMAGES}", "bert"):
                (root / name).mkdir(parents=True)
            write_table(root / "prepared" / f"{NAME}.parquet", {"train": size, "val": VALIDATION})
            write_bert(root / "bert")
            noise = np.random.default_rng(0).integers(256, size=(HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((WIDTH, HEIGHT)).save(root / "picture.jpg")
            done = subprocess.run(
                [sys.executable, __file__, "--measure", str(root)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "STARTED": str(time.time())},
            )
            found[f"{size:,}"] = json.loads(done.stdout.splitlines()[-1])
            print(f"{size:,} expressions: {found[f'{size:,}']}", file=sys.stderr, flush=True)
    print_result({"expressions": found, "machine": describe_machine()}, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
