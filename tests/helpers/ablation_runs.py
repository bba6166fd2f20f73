"""Recorded runs as pipeline/report.py publishes them: a real MLflow store with made-up scores."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from s2rm.config.benchmarks import get_benchmark
from s2rm.config.params import Params
from s2rm.tracking import MlflowStore
from s2rm.tracking.journal import Journal
from s2rm.tracking.publish import publish
from s2rm.tracking.upload import Upload

IMAGES, EACH = 24, 3  # images per split, expressions per image
UNION = 1000  # pixels


def make_scores(benchmark: str, split: str, iou: float, seed: int) -> pd.DataFrame:
    """Make up scores: an image is equally hard for all models, and the noise of a seed is smaller."""
    place = sum(map(ord, f"{benchmark}{split}"))
    hard = np.random.default_rng(place).normal(0, 0.1, IMAGES).repeat(EACH)
    luck = np.random.default_rng([place, seed]).normal(0, 0.02, IMAGES * EACH)
    intersection = (UNION * np.clip(iou + hard + luck, 0, 1)).astype(int)
    return pd.DataFrame(
        {
            "sent_id": np.arange(IMAGES * EACH) + 10 * place,
            "ref_id": 0,
            "image_id": np.arange(IMAGES).repeat(EACH) + place,
            "intersection_model": intersection,
            "union_model": UNION,
            "intersection_original": intersection,
            "union_original": UNION,
            "score": 0.5,
        }
    )


def evaluate(params: Params, run: str, iou: float, folder: Path) -> Iterator[Path]:
    """Write the files of results/<run>, and params.yaml."""
    for benchmark in params.runs[run].evaluate_on:
        for split in get_benchmark(benchmark).evaluation_splits:
            path = folder / f"{benchmark}-{split}.parquet"
            make_scores(benchmark, split, iou, params.train.seed).to_parquet(path, index=False)
            yield path
    path = folder / "history.jsonl"
    names = [*params.runs[run].evaluate_on, "mean"]
    scores = {f"val/{name}/{metric}": 100 * iou for name in names for metric in ("oIoU", "mIoU")}
    records = [{"epoch": epoch, "step": 10 * epoch, "train/loss": 1 / epoch, **scores} for epoch in (1, 2)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    yield path
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params.model_dump()))
    yield path


def record(
    store: MlflowStore,
    params: Params,
    iou: float,
    folder: Path,
    run: str = "joint",
    trained: str | None = None,
) -> str:
    """Record a training and its evaluation; `trained` is an earlier training that is evaluated again."""
    folder.mkdir()
    trained = trained or train(store, params, folder, run)
    files = {"results": list(evaluate(params, run, iou, folder))}
    metrics = {"refcoco_unc/val/model/mIoU": iou, "refcoco_unc/val/model/oIoU": params.evaluate.threshold}
    return publish(store, trained, run, metrics, files, {"run": run})


def train(
    store: MlflowStore, params: Params, folder: Path, run: str = "joint", error: BaseException | None = None
) -> str:
    """Record a training that ends at once, with `error` if there is one."""
    head = {"name": run, "experiment": "", "params": {**params.flatten(), "run": run}, "tags": {"run": run}}
    journal = Journal(folder, None, head)
    with suppress(RuntimeError), journal:
        if error:
            raise error
    journal.close()
    Upload(journal.path, running=False).send(store)
    return journal.identity
