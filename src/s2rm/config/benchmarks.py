"""Define the benchmarks: their names, their place in the REFER layout, and their splits.

The names follow the REFER API (github.com/lichengunc/refer): a dataset folder and a `split_by`,
which names one of its partitions. MLflow does not allow `+` in names, so RefCOCO+ is `refcoco_plus`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from s2rm.core.errors import UserError

COCO_IMAGES = "images/mscoco/images/train2014"
SAIAPR_IMAGES = "images/saiapr_tc-12"

BenchmarkName = Literal[
    "refcoco_unc",
    "refcoco_plus_unc",
    "refcocog_umd",
    "refcocog_google",
    "referit_berkeley",
    "refshapes_structured",
    "refshapes_two_hops",
]
Source = Literal["refshapes", "archives", "folder"]  # values of the parameter data.source


@dataclass(frozen=True)
class Benchmark:
    """One partition of a referring-expression dataset.

    Attributes:
        name: name in parameters, files, metrics and MLflow.
        title: name in tables and figures.
        dataset: folder of the dataset in the REFER layout.
        split_by: partition; its annotations are in `refs(<split_by>).p`.
        splits: names of the splits in the order of the tables, "train" first.
        images: image folder, relative to the root of the REFER layout.
    """

    name: str
    title: str
    dataset: str
    split_by: str
    splits: tuple[str, ...]
    images: str

    @property
    def evaluation_splits(self) -> tuple[str, ...]:
        """All splits except "train"."""
        return tuple(split for split in self.splits if split != "train")


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "refcoco_unc", "RefCOCO", "refcoco", "unc", ("train", "val", "testA", "testB"), COCO_IMAGES
        ),
        Benchmark(
            "refcoco_plus_unc", "RefCOCO+", "refcoco+", "unc", ("train", "val", "testA", "testB"), COCO_IMAGES
        ),
        Benchmark("refcocog_umd", "RefCOCOg (UMD)", "refcocog", "umd", ("train", "val", "test"), COCO_IMAGES),
        Benchmark(
            "refcocog_google", "RefCOCOg (Google)", "refcocog", "google", ("train", "val"), COCO_IMAGES
        ),
        Benchmark(
            "referit_berkeley", "ReferIt", "refclef", "berkeley", ("train", "val", "test"), SAIAPR_IMAGES
        ),
    )
}


# Drawn data that imitate no real benchmark: they test what none of the real ones shows.
STRUCTURED = Benchmark(
    "refshapes_structured",
    "RefShapes structured",
    "refshapes",
    "structured",
    ("train", "val"),
    "images/refshapes",
)
TWO_HOPS = Benchmark(
    "refshapes_two_hops", "RefShapes two hops", "refshapes", "two_hops", ("train", "val"), "images/refshapes"
)
DRAWN_ONLY = {benchmark.name: benchmark for benchmark in (STRUCTURED, TWO_HOPS)}
ALL_BENCHMARKS = {**BENCHMARKS, **DRAWN_ONLY}


def get_benchmark(name: str) -> Benchmark:
    """Return the benchmark with this name.

    Raises:
        UserError: the name is unknown; the message lists the known ones.
    """
    if name not in ALL_BENCHMARKS:
        raise UserError(f"unknown benchmark {name!r}: known are {', '.join(ALL_BENCHMARKS)}")
    return ALL_BENCHMARKS[name]


def name_benchmark(name: str, source: Source, incomplete: Collection[str] = ()) -> str:
    """Return a benchmark's name in tables and figures; drawn and partial data are labelled as such.

    Args:
        name: name of the benchmark.
        source: origin of the data.
        incomplete: names of the benchmarks of which only a part is used.
    """
    if name in DRAWN_ONLY:
        return DRAWN_ONLY[name].title
    title = BENCHMARKS[name].title
    if source == "refshapes":
        return f"RefShapes (as {title})"
    return f"part of {title}" if name in incomplete else title
