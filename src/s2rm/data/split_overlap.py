"""Finds the images that are both trained on and evaluated on, and leaves them out of the training.

An image is identified by its `image_path`, which is the same for one COCO image in all benchmarks.

RefCOCO, RefCOCO+ and RefCOCOg take their images from COCO train2014. The UNC splits of RefCOCO and RefCOCO+
agree: they share all images of val (1,500), testA (750) and testB (750), as counted on the lists refs(unc).p
of REFER. RefCOCOg was split separately, so its training split can hold images that RefCOCO and RefCOCO+
evaluate on, and theirs images that RefCOCOg evaluates on: a model that is trained on several of them would
see evaluation images. PolyFormer and big_vision's "refcocox_combined" leave these images out of the joint
training set, and so does `drop_evaluated`.

RefCOCOg's Google split divides objects, not images: its own train and val share images by protocol. Whether
this protocol is kept or the shared images are dropped is up to the caller; this module makes no exception.

https://github.com/lichengunc/refer
https://github.com/amazon-science/polygon-transformer/blob/5d21aeb/data/create_finetuning_data.py
https://github.com/google-research/big_vision/blob/5f95305/big_vision/datasets/refcoco/refcoco.py
https://github.com/tensorflow/datasets/blob/90b6623/tensorflow_datasets/datasets/ref_coco/README.md
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from s2rm.config.benchmarks import get_benchmark
from s2rm.data.table import load_table

COLUMNS = ("benchmark", "split", "image_path", "ref_id", "sent_id")  # the columns that this module needs


def read_image_splits(prepared: Path, benchmarks: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Read the `COLUMNS` of prepared tables.

    Args:
        prepared: the folder that holds `<benchmark>.parquet`.
        benchmarks: their names.

    Returns:
        The tables by benchmark.

    Raises:
        UserError: a table cannot be read; see `load_table`.
    """
    return {name: load_table(prepared / f"{name}.parquet", COLUMNS) for name in benchmarks}


def report_shared(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Count how much of each evaluation split lies on training images, within and across benchmarks.

    Args:
        tables: the prepared tables by benchmark, or the `COLUMNS` of them.

    Returns:
        One row per training split and evaluation split, with the columns trained_on and evaluated_on
        (benchmarks), split, shared_images, share (of the images of the evaluation split, 0…1), expressions
        (of the evaluation split, on the shared images). Pairs that share nothing have a row too, except
        where the benchmarks take their images from different collections.
    """
    rows = []
    for trained_on, trained in tables.items():
        seen = trained.loc[trained["split"] == "train", "image_path"].unique()
        for evaluated_on, evaluated in tables.items():
            if not len(seen) or get_benchmark(trained_on).images != get_benchmark(evaluated_on).images:
                continue
            for split, images in evaluated.groupby("split", sort=False)["image_path"]:
                if split == "train":
                    continue
                shared = images[images.isin(seen)]
                number = shared.nunique()
                rows.append((trained_on, evaluated_on, split, number, number / images.nunique(), len(shared)))
    columns = ["trained_on", "evaluated_on", "split", "shared_images", "share", "expressions"]
    return pd.DataFrame(rows, columns=columns)


def list_evaluated(batches: Iterable[pa.RecordBatch], trained: Collection[str] = ("train",)) -> set[str]:
    """Return the paths of the images in evaluation splits.

    Args:
        batches: the columns split and image_path of a table.
        trained: the splits that are trained on.
    """
    splits = pa.array(sorted(trained))
    found: set[str] = set()
    for batch in batches:
        evaluated = pc.invert(pc.is_in(batch["split"], value_set=splits))
        found.update(pc.unique(batch["image_path"].filter(evaluated)).to_pylist())
    return found


def drop_evaluated(batch: pa.RecordBatch, evaluated: pa.Array) -> tuple[pa.RecordBatch, dict[str, int]]:
    """Leave out the rows whose image is evaluated on.

    Args:
        batch: rows to train on, with their image_path.
        evaluated: the paths of the images.

    Returns:
        The remaining rows, in their order, and image → number of rows that were dropped.
    """
    leaks = pc.is_in(batch["image_path"], value_set=evaluated)
    counts = pc.value_counts(batch["image_path"].filter(leaks))
    lost = {each["values"].as_py(): each["counts"].as_py() for each in counts}
    return batch.filter(pc.invert(leaks)) if lost else batch, lost
