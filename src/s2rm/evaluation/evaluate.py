"""Evaluate a trained model on every evaluation split of its benchmarks, and write what the report needs.

<output>/<benchmark>-<split>.parquet    one row per expression, `scores.SCORE_COLUMNS`
<output>/<benchmark>-<split>-analysis.json    its errors, see `s2rm.scoring.analysis`
<output>/metrics.json                   benchmark → split → protocol → metric
<output>/inspect/                       the files of `s2rm.evaluation.inspect`
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState

from s2rm.config.benchmarks import get_benchmark
from s2rm.config.params import Evaluate
from s2rm.core.devices import choose_device
from s2rm.core.explained import Work, explained
from s2rm.core.files import replace, replace_text
from s2rm.data.image_zip import ImageFiles
from s2rm.data.requirements import require_evaluation_splits, require_images
from s2rm.data.table import load_objects, load_table
from s2rm.evaluation.inspect import SplitScores, inspect_model
from s2rm.evaluation.scores import Scores
from s2rm.evaluation.sharding import score_together
from s2rm.model.s2rm import S2RM
from s2rm.predictor import Predictor
from s2rm.scan.triton_probe import runs_triton
from s2rm.scoring.analysis import analyse
from s2rm.scoring.metrics import PROTOCOLS, segmentation_metrics

logger = logging.getLogger(__name__)

COMPILER = "inductor"

METRICS_FILE = "metrics.json"
# benchmark → split → protocol → metric → percent, with the numbers of images and expressions
Metrics = dict[str, dict[str, dict[str, dict[str, float]]]]


def evaluate_benchmarks(
    model_folder: Path, names: list[str], *, prepared: Path, raw: Path, output: Path, params: Evaluate
) -> Metrics:
    """Evaluate a trained model, and write what the report needs of it.

    Args:
        model_folder: models/<run>.
        names: the benchmarks.
        prepared: the folder of the prepared tables.
        raw: the folder that `image_path` starts from.
        output: results/<run>.
        params: the section `evaluate`.

    Returns:
        The content of <output>/metrics.json.

    Raises:
        UserError: the model, a table or an image cannot be read, or a benchmark has no evaluation
            split.
    """
    require_evaluation_splits(prepared, names)
    require_images(raw, names)
    device = choose_device("auto")  # Apple's GPUs are not tested
    state = PartialState(cpu=device.type == "cpu")
    if device.type == "cuda":
        runs_triton()
    predictor = Predictor.from_pretrained(model_folder, params.threshold, device=state.device)
    images = ImageFiles(raw)
    output.mkdir(parents=True, exist_ok=True)
    metrics: Metrics = {}
    splits: list[SplitScores] = []
    for name in names:
        table = load_table(prepared / f"{name}.parquet")
        objects = load_objects(prepared / f"{name}-objects.parquet")
        metrics[name] = {}
        for split in get_benchmark(name).evaluation_splits:
            rows = table[table["split"] == split].reset_index(drop=True)
            if rows.empty:
                logger.warning("%s has no expression in split %s: left out", name, split)
                continue
            work = _describe_work(params, f"{name} {split}")
            with explained(work), _compiled(predictor.model) if params.compile else nullcontext():
                scores = score_together(
                    predictor.model,
                    predictor.processor,
                    rows,
                    images,
                    images_per_batch=params.images_per_batch,
                    threshold=params.threshold,
                    device=state.device,
                    precision=params.precision,
                    workers=params.workers,
                    title=f"{name} {split}",
                )
            metrics[name][split] = _measure(scores)
            if state.is_main_process:
                replace(output / f"{name}-{split}.parquet", partial(scores.table.to_parquet, index=False))
                analysis = analyse(rows, scores.table, objects)
                analysis.save(output / f"{name}-{split}-analysis.json")
                splits.append(SplitScores(name, split, rows, scores, analysis.kinds))
            found = metrics[name][split]["original"]
            logger.info("%s %s: oIoU %.2f, mIoU %.2f", name, split, found["oIoU"], found["mIoU"])
    if state.is_main_process:
        replace_text(output / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
        inspect_model(predictor, splits, images, output / "inspect", examples=params.examples)
    return metrics


@contextmanager
def _compiled(model: S2RM) -> Iterator[None]:
    """Let torch.compile run the parts of the model that scoring calls; what looks inside them comes later."""
    parts = ("encode_images", "segment")
    for name in parts:
        setattr(model, name, torch.compile(getattr(model, name), dynamic=True, backend=COMPILER))
    try:
        yield
    finally:
        for name in parts:
            delattr(model, name)


def _describe_work(params: Evaluate, title: str) -> Work:
    return Work(
        moment=lambda: f"while {title} was scored",
        workers=params.workers,
        workers_key="evaluate.workers",
        memory=f"lower evaluate.images_per_batch ({params.images_per_batch})",
        then="the same command scores this run again",
    )


def _measure(scores: Scores) -> dict[str, dict[str, float]]:
    """Return protocol → metric → percent, with the numbers of images and expressions."""
    table = scores.table
    counts = {"images": table["image_id"].nunique(), "expressions": len(table)}
    return {
        protocol: {
            **segmentation_metrics(table[f"intersection_{protocol}"], table[f"union_{protocol}"]),
            **counts,
        }
        for protocol in PROTOCOLS
    }
