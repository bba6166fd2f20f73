"""Images that are trained on and evaluated on.

An image is told by its `image_path`, which is the same for one COCO image in all benchmarks.

The splits of RefCOCO, RefCOCO+ and RefCOCOg were made independently of each other, so that training on
several of them shows the model images of their evaluation splits. PolyFormer and big_vision's
"refcocox_combined" leave these images out of the joint training set, and so does `drop_evaluated`.

RefCOCOg's Google partition divides objects, not images: its own train and val share images by protocol.
Whether a protocol is kept or its images are dropped is for the caller to decide: nothing here excepts it.

https://github.com/amazon-science/polygon-transformer/blob/5d21aeb/data/create_finetuning_data.py
https://github.com/google-research/big_vision/blob/5f95305/big_vision/datasets/refcoco/refcoco.py
https://github.com/tensorflow/datasets/blob/90b6623/tensorflow_datasets/datasets/ref_coco/README.md
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from s2rm.config.benchmarks import get_benchmark
from s2rm.data.table import load_table

COLUMNS = ("benchmark", "split", "image_path", "ref_id", "sent_id")  # what is needed to tell who shares what


@dataclass(frozen=True)
class Dropped:
    """What `drop_evaluated` left out of a benchmark."""

    images: int
    expressions: int


def read_image_splits(prepared: Path, benchmarks: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Benchmark → COLUMNS of `<prepared>/<benchmark>.parquet`; `UserError` as for `load_table`."""
    return {name: load_table(prepared / f"{name}.parquet", COLUMNS) for name in benchmarks}


def report_shared(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How much of each evaluation split lies on images of each training split, within and across benchmarks.

    Args:
        tables: benchmark → its prepared table, or the COLUMNS of it.

    Returns: trained_on, evaluated_on (benchmarks), split, shared_images, share (of the images of the
        evaluation split), expressions (of the evaluation split, on the shared images). Pairs with
        nothing in common have a row too, as the finding of a search, except where the benchmarks take
        their images from different collections and nothing was to be found.
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


def drop_evaluated(
    train: pd.DataFrame, evaluated: Iterable[pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, Dropped]]:
    """The rows of `train` whose image is in no evaluation split, and what was dropped of each benchmark.

    Args:
        train: the rows to train on, of one or several benchmarks.
        evaluated: tables of the benchmarks that are evaluated on; their rows of the split "train" do not
            count, so whole tables will do.

    The rows that are kept keep their order and their index. Each benchmark of `train` has its
    `Dropped`, be it 0.
    """
    seen = {path for table in evaluated for path in table.loc[table["split"] != "train", "image_path"]}
    leaks = train["image_path"].isin(seen)
    lost = train[leaks]
    dropped = {}
    for benchmark in train["benchmark"].unique():
        rows = lost[lost["benchmark"] == benchmark]
        dropped[str(benchmark)] = Dropped(rows["image_path"].nunique(), len(rows))
    return train[~leaks], dropped
