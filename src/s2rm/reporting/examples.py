"""The examples of the qualitative sheet: spread evenly from the worst to the best, to flatter nobody."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from s2rm.config.benchmarks import Source, name_benchmark
from s2rm.data.image_zip import ImageFiles
from s2rm.data.images import decode_image
from s2rm.data.rle import decode
from s2rm.data.table import load_table
from s2rm.predictor import Predictor
from s2rm.reporting.overlays import Example


def pick_examples(scores: pd.DataFrame, count: int) -> pd.DataFrame:
    """`count` rows of a results table at even quantiles of their IoU (original size), with column `iou`."""
    scored = scores.assign(iou=scores["intersection_original"] / scores["union_original"].clip(lower=1))
    ordered = scored.sort_values(["iou", "sent_id"], ignore_index=True)
    places = (np.arange(count) + 0.5) / max(count, 1) * len(ordered)
    return ordered.iloc[np.unique(places.astype(int))]


def collect_examples(
    model_folder: Path,
    results: Path,
    *,
    source: Source,
    incomplete: Collection[str] = (),
    prepared: Path,
    raw: Path,
    count: int,
    threshold: float,
) -> list[Example]:
    """`count` examples of each evaluated split, predicted anew.

    Args:
        results: the run's folder of <benchmark>-<split>.parquet.
        source, incomplete: of the data, so that neither RefShapes nor a part of a benchmark is shown under
            a real benchmark's name.
    """
    predictor = Predictor.from_pretrained(model_folder, threshold)
    files = ImageFiles(raw)
    examples = []
    for file in sorted(results.glob("*.parquet")) if count else []:
        name, split = file.stem.rsplit("-", 1)
        table = load_table(prepared / f"{name}.parquet")
        chosen = pick_examples(pd.read_parquet(file), count)
        table = table[table["split"] == split].set_index("sent_id")
        for sent_id, iou in zip(chosen["sent_id"], chosen["iou"], strict=True):
            title = f"{name_benchmark(name, source, incomplete)} {split}"
            examples.append(predict_example(predictor, files, table.loc[sent_id], float(iou), title))
    return examples


def predict_example(
    predictor: Predictor, files: ImageFiles, row: pd.Series, iou: float, title: str
) -> Example:
    """The expression of a row of a prepared table, predicted anew."""
    image = decode_image(files.read(row["image_path"]), row["image_path"])
    return Example(
        image=image,
        expression=row["expression"],
        truth=decode(row["mask_rle"], row["height"], row["width"]),
        predicted=predictor.predict(image, [row["expression"]])[0],
        iou=iou,
        title=title,
    )
