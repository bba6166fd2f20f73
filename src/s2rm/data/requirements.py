"""What a training and an evaluation need of the prepared data, checked in seconds and before any work."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc

from s2rm.config.benchmarks import get_benchmark
from s2rm.core.errors import UserError
from s2rm.data.table import read_batches


def count_expressions(prepared: Path, benchmark: str) -> dict[str, int]:
    """Return split → number of expressions of a prepared benchmark.

    Raises:
        UserError: the table cannot be read, or belongs to another benchmark.
    """
    path = prepared / f"{benchmark}.parquet"
    counts: Counter[str] = Counter()
    others: set[str] = set()
    for batch in read_batches(path, ["benchmark", "split"]):
        others.update(pc.unique(batch["benchmark"]).to_pylist())
        for found in pc.value_counts(batch["split"]):
            counts[found["values"].as_py()] += found["counts"].as_py()
    others.discard(benchmark)
    if others:
        raise UserError(f"{path} holds rows of {', '.join(sorted(others))}: run `dvc repro preprocess`")
    return dict(counts)


def require_training_splits(prepared: Path, benchmarks: Iterable[str]) -> None:
    """Check that each benchmark has expressions to train on, and a val split to select the checkpoint by.

    Args:
        prepared: folder of the prepared tables.
        benchmarks: their names.

    Raises:
        UserError: a table cannot be read, or has no expression in one of the two splits.
    """
    for name in benchmarks:
        counts = count_expressions(prepared, name)
        for split, purpose in (("train", "to train on"), ("val", "to select the checkpoint by")):
            if not counts.get(split):
                raise UserError(
                    f"{name} has no expression in split {split}, {purpose} ({_list(counts)}): correct the "
                    f"splits of its refs, or leave {name} out of train_on"
                )


def require_evaluation_splits(prepared: Path, benchmarks: Iterable[str]) -> None:
    """Check that each benchmark has expressions in at least one evaluation split.

    Args:
        prepared: folder of the prepared tables.
        benchmarks: their names.

    Raises:
        UserError: a table cannot be read, or has no such expression.
    """
    for name in benchmarks:
        counts, splits = count_expressions(prepared, name), get_benchmark(name).evaluation_splits
        if not any(counts.get(split) for split in splits):
            raise UserError(
                f"nothing to evaluate: {name} has no expression in {', '.join(splits)} ({_list(counts)}): "
                f"correct the splits of its refs, or leave {name} out of evaluate_on"
            )


def require_images(raw: Path, benchmarks: Iterable[str]) -> None:
    """Check that the images of each benchmark are there, as a folder or as its zip.

    Args:
        raw: the folder that image paths start from.
        benchmarks: their names.

    Raises:
        UserError: one of them is missing.
    """
    for name in benchmarks:
        images = get_benchmark(name).images
        places = [raw / images, *(raw / part for part in Path(images).parents[:-1])]  # one zip may hold all
        if not places[0].is_dir() and not any(
            place.with_name(f"{place.name}.zip").is_file() for place in places
        ):
            raise UserError(
                f"the images of {name} are missing: {raw / images}.zip does not exist; run `dvc repro "
                "download`"
            )


def _list(counts: dict[str, int]) -> str:
    found = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    return f"its expressions by split: {found}" if found else "its table is empty"
