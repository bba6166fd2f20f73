"""Compute the metrics on the val splits, by which the best checkpoint is selected."""

from collections.abc import Iterable

import pandas as pd
from accelerate import Accelerator

from s2rm.config.params import Params, Train
from s2rm.data.image_zip import ImageFiles
from s2rm.data.processor import Processor
from s2rm.evaluation.sharding import score_together
from s2rm.model.s2rm import S2RM
from s2rm.scoring.metrics import segmentation_metrics


def validate(
    model: S2RM,
    processor: Processor,
    tables: dict[str, pd.DataFrame],
    images: ImageFiles,
    params: Params,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Score the model on the val split of each benchmark, at the model's size.

    Args:
        model: in training, without wrappers.
        processor: the model's own.
        tables: benchmark → the rows of its val split, at least one.
        images: the files that `image_path` names.
        params: all parameters.
        accelerator: of the training; its processes share the images.

    Returns:
        val/<benchmark>/<metric> and val/mean/<metric>, for oIoU and mIoU; percent. The mean is over the
        benchmarks whose val split is not trained on, or over all if each is.
    """
    metrics: dict[str, float] = {}
    for name, table in tables.items():
        scores = score_together(
            model,
            processor,
            table,
            images,
            images_per_batch=max(1, params.train.expressions_per_batch // params.train.expressions_per_image),
            threshold=0.5,
            device=accelerator.device,
            precision=params.train.precision,
            workers=params.train.workers,
            original=False,
            title=f"{name} val",
        ).table
        found = segmentation_metrics(scores["intersection_model"], scores["union_model"])
        metrics |= {f"val/{name}/{metric}": found[metric] for metric in ("oIoU", "mIoU")}
    for metric in ("oIoU", "mIoU"):
        values = [metrics[f"val/{name}/{metric}"] for name in held_out(tables, params.train) or tables]
        metrics[f"val/mean/{metric}"] = round(sum(values) / len(values), 4)
    return metrics


def held_out(benchmarks: Iterable[str], train: Train) -> list[str]:
    """Return the benchmarks whose val split is not trained on, by which the best checkpoint is selected."""
    return [name for name in benchmarks if name not in train.with_val]


def summarise(record: dict[str, float]) -> str:
    """Format a record of the history as one line for the log."""
    return (
        ", ".join(
            f"{key.removeprefix('val/').removesuffix('/mIoU')} {value:.1f}"
            for key, value in record.items()
            if key.endswith("/mIoU")
        )
        + f" mIoU; loss {record['train/loss']:.3f}"
    )
