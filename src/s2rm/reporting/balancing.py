"""The table of the balancing weights: how much a model leans on each of its parsed semantics."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from s2rm.config.benchmarks import Source, name_benchmark
from s2rm.data.samplers import ImageBatchSampler, group_by_image
from s2rm.data.table import load_table
from s2rm.evaluation.scores import dataset_for
from s2rm.model.hooks import balanced_stages, places_of, watch_weights
from s2rm.predictor import Predictor
from s2rm.reporting.gates import ROLES, name_direction
from s2rm.reporting.own_tables import DRAWN
from s2rm.reporting.table_writers import Table

IMAGES = 200  # of a split: its first ones, so that a large split costs no second evaluation
IMAGES_PER_BATCH = 8


def collect_weights(
    model_folder: Path, benchmarks: Collection[str], *, prepared: Path, raw: Path
) -> pd.DataFrame:
    """The mean weights over the val expressions of each benchmark's first IMAGES images.

    Returns: benchmark, stage, images, expressions, role, rotation, weight (0…1, mean of the channels);
        a row a parsed semantic of a benchmark and stage.
    """
    predictor = Predictor.from_pretrained(model_folder)
    rows = []
    for name in benchmarks:
        table = load_table(prepared / f"{name}.parquet")
        table = table[table["split"] == "val"]
        table = table[table["image_path"].isin(table["image_path"].unique()[:IMAGES])]
        if table.empty:
            continue
        means = _mean_weights(predictor, table.reset_index(drop=True), raw)
        for stage, fusion in balanced_stages(predictor.model).items():
            counts = {"images": table["image_path"].nunique(), "expressions": len(table)}
            for (role, rotation), weight in zip(places_of(fusion), means[stage], strict=True):
                place = {"stage": stage, "role": role, "rotation": rotation}
                rows.append({"benchmark": name, **counts, **place, "weight": weight})
    return pd.DataFrame(rows)


@torch.inference_mode()
def _mean_weights(predictor: Predictor, table: pd.DataFrame, raw: Path) -> dict[int, NDArray[np.float64]]:
    """Stage → the mean weight of each parsed semantic (K,), over the channels and the expressions."""
    model = predictor.model
    device = next(model.parameters()).device
    dataset = dataset_for(model, predictor.tokenizer, table, raw)
    batches = ImageBatchSampler(group_by_image(dataset.image_path), IMAGES_PER_BATCH)
    sums: dict[int, NDArray[np.float64]] = {}
    with watch_weights(model) as weights:
        for batch in DataLoader(dataset, batch_sampler=batches, collate_fn=dataset.collate):
            here = batch.to(device)
            model(here.images, here.token_ids, here.attention_mask, here.expression_to_image)
            for stage, weight in weights.items():
                sums[stage] = sums.get(stage, 0) + weight.double().mean(2).sum(0).cpu().numpy()
    return {stage: total / len(table) for stage, total in sums.items()}


def build_balancing(
    weights: dict[str, pd.DataFrame], source: Source, incomplete: Collection[str] = (), *, decimals: int
) -> Table:
    """The weights by run, benchmark and stage: a column a parsed semantic.

    `weights`: by run, as `collect_weights` gives them; some run has rows.
    """
    by_run = pd.concat([frame.assign(run=run) for run, frame in weights.items()], ignore_index=True)
    rows: list[dict[tuple[str, str], object]] = []
    groups = []
    keys = ["run", "benchmark", "stage"]
    for (run, benchmark, stage), semantics in by_run.groupby(keys, sort=False):
        first = semantics.iloc[0]
        row: dict[tuple[str, str], object] = {
            ("", "data"): name_benchmark(str(benchmark), source, incomplete),
            ("", "stage"): stage,
            ("", "images"): first["images"],
            ("", "expressions"): first["expressions"],
        }
        for semantic in semantics.to_dict("records"):
            heading = (ROLES[semantic["role"]], name_direction(semantic["rotation"]))
            row[heading] = 100 * semantic["weight"]
        rows.append(row)
        groups.append(f"run {run}")
    count = len(rows[0]) - 4
    data = "RefShapes" if source == "refshapes" else "the real benchmarks"
    frame = pd.DataFrame(rows, index=groups)
    frame.columns = pd.MultiIndex.from_tuples(rows[0])
    return Table(
        name="refshapes-balancing" if source == "refshapes" else "balancing",
        title=f"Balancing weights on {data}",
        caption="The mean weight of each parsed semantic in percent, over channels and expressions; a row "
        f"sums to 100. Data: {data}, val, at most its first {IMAGES} images. Stage 1 is the finest.",
        frame=frame,
        sources=tuple(f"this project, {group}" for group in groups),
        footnotes=(
            f"Equal weights would be {100 / count:.{decimals}f}. A weight is a share of the sum of parsed "
            "semantics, whose sizes differ: it says how the model mixes them, not what each is worth.",
            "A column is a sweep over the image: the role, and what is swept in which sense.",
            *([DRAWN] if source == "refshapes" else []),
        ),
        decimals=decimals,
    )
