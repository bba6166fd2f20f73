"""What a benchmark is: its name here, its name for people, where it lies in REFER, its splits.

The names follow the REFER API (github.com/lichengunc/refer): a dataset folder and a `split_by`,
the partition of it. MLflow allows no `+` in names, so RefCOCO+ is `refcoco_plus`.
"""

from dataclasses import dataclass

from s2rm.core.errors import UserError

COCO_IMAGES = "images/mscoco/images/train2014"
SAIAPR_IMAGES = "images/saiapr_tc-12"


@dataclass(frozen=True)
class Benchmark:
    name: str  # in params, files, metrics and MLflow
    title: str  # for people
    dataset: str  # folder in the REFER layout
    split_by: str  # refs(<split_by>).p
    splits: tuple[str, ...]  # in the order of the tables; "train" first
    images: str  # image folder under the root of the REFER layout

    @property
    def evaluation_splits(self) -> tuple[str, ...]:
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


# Drawn data that copy no real benchmark, for what none of those can show.
STRUCTURED = Benchmark(
    "refshapes_structured",
    "RefShapes structured",
    "refshapes",
    "structured",
    ("train", "val"),
    "images/refshapes",
)
ALL_BENCHMARKS = {**BENCHMARKS, STRUCTURED.name: STRUCTURED}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that name; `UserError` names those that exist."""
    if name not in ALL_BENCHMARKS:
        raise UserError(f"unknown benchmark {name!r}: known are {', '.join(ALL_BENCHMARKS)}")
    return ALL_BENCHMARKS[name]
