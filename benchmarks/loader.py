"""Samples per second of the training's loader, compared with the loader of public repositories.

    python benchmarks/loader.py --params presets/paper.yaml --repeats 3 --json

A sample is an expression with its image, its mask and its tokens. The data are generated (`full_refcoco`),
the JPEG files as large as COCO's. `common` is our own version of what LAVT and its successors do: REFER's
index is in memory; for every item the image is opened by its file name, the mask is drawn from its polygons,
both are resized as Pillow images, and the expression is tokenised by BERT's tokenizer in pure Python.

The ratios of samples per core second use the CPU time of one process, which other programs disturb less.
"""

import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision.transforms.functional as F
from full_refcoco import BENCHMARK, make_photograph, write_refcoco
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from timing import build_parser, describe_machine, print_result, time_interleaved
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from transformers import PreTrainedTokenizerBase
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from s2rm.config.load import load_params
from s2rm.config.params import Params, Preprocess
from s2rm.core.errors import exit_on_user_error
from s2rm.data.dataset import ExpressionDataset
from s2rm.data.image_zip import ImageFiles, ZipImages
from s2rm.data.processor import Processor
from s2rm.data.rows import Rows
from s2rm.data.samplers import GroupedBatchSampler
from s2rm.data.table import load_table
from s2rm.data.tokenizer import build_tokenizer
from s2rm.refer.pickles import load_pickle
from s2rm.refer.prepare import prepare

SCALE = 0.015  # share of RefCOCO's size: 300 images, 2,133 expressions
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 16  # images, where each has one expression
WORKERS = (0, 1, 2)  # processes


@dataclass(frozen=True)
class Reader:
    """A loader, and the CPU time that reading all of it took."""

    samples: int
    loader: DataLoader[Any]
    cpu_seconds: list[float] = field(default_factory=list)  # of this process, per round

    def read(self) -> None:
        """Read all batches once."""
        start = time.process_time()
        for _ in self.loader:
            pass
        self.cpu_seconds.append(time.process_time() - start)

    @property
    def per_core(self) -> float:
        """Samples per second of CPU time, without workers; the first round is a warm-up."""
        return self.samples / statistics.median(self.cpu_seconds[1:])


class CommonDataset(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """One item per ref: image (3, S, S), mask (S, S), and token ids and their mask (T,) of one sentence."""

    def __init__(
        self, folder: Path, images: Path, tokenizer: PreTrainedTokenizerBase | Any, size: int, tokens: int
    ) -> None:
        """Load the index.

        Args:
            folder: with refs(…).p and instances.json.
            images: folder of the image files.
            tokenizer: BERT's.
            size: S, the side that images are resized to, pixels.
            tokens: T, the length of an expression.
        """
        self.refs = load_pickle(folder / f"refs({BENCHMARK.split_by}).p")
        instances = json.loads((folder / "instances.json").read_bytes())
        self.image_of = {image["id"]: image for image in instances["images"]}
        self.annotation_of = {annotation["id"]: annotation for annotation in instances["annotations"]}
        self.images, self.tokenizer, self.size, self.tokens = images, tokenizer, [size, size], tokens

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ref = self.refs[index]
        record = self.image_of[ref["image_id"]]
        image = Image.open(self.images / record["file_name"]).convert("RGB")
        bitmap = Image.fromarray(self._draw(self.annotation_of[ref["ann_id"]], record), mode="P")
        image = F.resize(image, self.size)
        bitmap = F.resize(bitmap, self.size, interpolation=InterpolationMode.NEAREST)
        pixels = F.normalize(F.to_tensor(image), MEAN, STD)
        truth = torch.as_tensor(np.asarray(bitmap).copy(), dtype=torch.int64)
        ids = self.tokenizer.encode(random.choice(ref["sentences"])["raw"], add_special_tokens=True)
        ids = ids[: self.tokens]
        padding = [0] * (self.tokens - len(ids))
        return pixels, truth, torch.tensor(ids + padding), torch.tensor([1] * len(ids) + padding)

    def _draw(self, annotation: dict[str, Any], image: dict[str, Any]) -> NDArray[np.uint8]:
        rles = coco.frPyObjects(annotation["segmentation"], image["height"], image["width"])
        return (coco.decode(rles).sum(axis=2) == 1).astype(np.uint8)


def build_loaders(root: Path, params: Params, scale: float) -> dict[str, list[Reader]]:
    """Return the loaders of each kind, one for each number of WORKERS.

    Args:
        root: folder that the data are written to.
        params: the parameters of the training.
        scale: share of RefCOCO's size.
    """
    raw, images = root / "raw", root / "plain"
    write_refcoco(raw, scale=scale, jpeg=make_photograph)
    zipped = ZipImages((raw / BENCHMARK.images).with_suffix(".zip"))
    images.mkdir()
    for name in zipped.names():
        (images / name).write_bytes(zipped.read(name))
    prepare(BENCHMARK.name, raw, root, Preprocess(sentence="raw", faults="refuse", statistics="warn"))
    table = load_table(root / f"{BENCHMARK.name}.parquet")
    tokenizer = build_tokenizer(table["expression"].tolist(), params.language)
    vocabulary = tokenizer.get_vocab()
    (root / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n")
    size, tokens = params.vision.image_size, params.language.tokens
    processor = Processor(tokenizer, image_size=size, max_tokens=tokens, mean=MEAN, std=STD)
    most = params.train.expressions_per_image

    def ours(chosen: pd.DataFrame, expressions: int, expressions_per_image: int) -> list[Reader]:
        rows = Rows.from_frame(chosen)
        dataset = ExpressionDataset(rows, ImageFiles(raw), processor)
        batches = GroupedBatchSampler(
            rows.group_by_image(),
            expressions=expressions,
            expressions_per_image=expressions_per_image,
            seed=0,
        )
        return _readers(len(rows), dataset, batch_sampler=batches, collate_fn=dataset.collate)

    common = CommonDataset(
        raw / BENCHMARK.name, images, BertTokenizerLegacy(root / "vocab.txt"), size, tokens
    )
    return {
        "common": _readers(len(common), common, batch_size=BATCH, shuffle=True),
        "ours, 1 per image": ours(table.drop_duplicates("ref_id"), BATCH, 1),
        f"ours, up to {most} per image": ours(table, params.train.expressions_per_batch, most),
    }


def _readers(samples: int, dataset: Dataset[Any], **options: Any) -> list[Reader]:
    return [
        Reader(samples, DataLoader(dataset, num_workers=workers, persistent_workers=workers > 0, **options))
        for workers in WORKERS
    ]


def main() -> None:
    """Print times, rates and ratios."""
    parser = build_parser(__doc__)
    parser.add_argument(
        "--scale", type=float, default=SCALE, help="share of RefCOCO's size (default: %(default)s)"
    )
    arguments = parser.parse_args()
    # BERT's own vocabulary would have to be downloaded: both loaders use one that is trained on the data.
    params = load_params(arguments.params, ["language.pretrained=null"])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kinds = build_loaders(Path(folder), params, arguments.scale)
        turns = {
            f"{kind}, {workers} workers": readers[turn]
            for turn, workers in enumerate(WORKERS)
            for kind, readers in kinds.items()
        }
        seconds = time_interleaved({name: reader.read for name, reader in turns.items()}, arguments.repeats)
    rates = {name: reader.samples / seconds[name]["median_s"] for name, reader in turns.items()}
    per_core = {kind: readers[0].per_core for kind, readers in kinds.items()}
    ratios = {}
    for kind in kinds:
        ratios[f"{kind}, 2 workers / 1"] = rates[f"{kind}, 2 workers"] / rates[f"{kind}, 1 workers"]
        if kind != "common":
            ratios[f"{kind} / common, per core second"] = per_core[kind] / per_core["common"]
    result = {
        "seconds": seconds,
        "samples_per_second": rates,
        "samples_per_core_second": per_core,
        "ratios": ratios,
        "machine": describe_machine(),
    }
    print_result(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
