"""Evaluates a trained model on every evaluation split of benchmarks: scores to files, metrics back."""

import logging
from pathlib import Path

import torch
from accelerate import PartialState

from s2rm.config.benchmarks import get_benchmark
from s2rm.config.params import Evaluate
from s2rm.core.errors import UserError
from s2rm.core.process import keep_freed_memory
from s2rm.data.table import load_table
from s2rm.evaluation.metrics import segmentation_metrics
from s2rm.evaluation.sharding import score_together
from s2rm.model.pretrained import load_tokenizer
from s2rm.model.s2rm import S2RM

logger = logging.getLogger(__name__)

PROTOCOLS = ("model", "original")  # sizes at which masks are compared
# benchmark → split → protocol → metric → percent; and the counts beside the protocols' metrics
Metrics = dict[str, dict[str, dict[str, dict[str, float]]]]


def evaluate_benchmarks(
    model_folder: Path, names: list[str], *, prepared: Path, raw: Path, output: Path, params: Evaluate
) -> Metrics:
    """Writes `output`/<benchmark>-<split>.parquet, one row an expression; returns the metrics."""
    state = PartialState(cpu=not torch.cuda.is_available())  # of a Mac's GPU nothing is known
    device = state.device
    model = S2RM.from_pretrained(model_folder).to(device).to(memory_format=torch.channels_last)
    keep_freed_memory()
    tokenizer = load_tokenizer(model_folder)
    output.mkdir(parents=True, exist_ok=True)
    metrics: Metrics = {}
    for name in names:
        benchmark = get_benchmark(name)
        table = load_table(prepared / f"{name}.parquet")
        metrics[name] = {}
        for split in benchmark.evaluation_splits:
            rows = table[table["split"] == split]
            if rows.empty:
                logger.warning("%s has no expression in split %s: left out", name, split)
                continue
            scores = score_together(
                model,
                tokenizer,
                rows,
                raw,
                images_per_batch=params.images_per_batch,
                threshold=params.threshold,
                device=device,
                precision=params.precision,
                workers=params.workers,
                title=f"{name} {split}",
            )
            if state.is_main_process:
                scores.to_parquet(output / f"{name}-{split}.parquet", index=False)
            counts = {"images": scores["image_id"].nunique(), "expressions": len(scores)}
            metrics[name][split] = {
                protocol: {
                    **segmentation_metrics(scores[f"intersection_{protocol}"], scores[f"union_{protocol}"]),
                    **counts,
                }
                for protocol in PROTOCOLS
            }
            found = metrics[name][split]["original"]
            logger.info("%s %s: oIoU %.2f, mIoU %.2f", name, split, found["oIoU"], found["mIoU"])
    if not any(metrics.values()):
        raise UserError(f"nothing to evaluate: {', '.join(names)} have no expression outside split 'train'")
    return metrics
