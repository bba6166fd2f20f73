"""Read and check our own metrics, results/<run>/metrics.json, together with what they were measured on."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s2rm.config.benchmarks import ALL_BENCHMARKS, Source, name_benchmark
from s2rm.core.errors import UserError
from s2rm.scoring.metrics import METRICS, PROTOCOLS

COUNTS = ("images", "expressions")


@dataclass(frozen=True)
class Measured:
    """The metrics of a run with the source of its data, so that tables keep RefShapes and real data apart."""

    run: str
    source: Source
    backbone: str
    image_size: int
    """Side of the model's input, pixels."""
    scores: pd.DataFrame
    """One row per benchmark, split and protocol, with METRICS in percent and COUNTS."""
    incomplete: frozenset[str] = frozenset()
    """Benchmarks whose data are only a part."""
    with_val: frozenset[str] = frozenset()
    """Evaluated benchmarks whose val split was trained on too."""

    def resolution(self, protocol: str) -> str:
        """Name the size at which a protocol compares masks."""
        return f"{self.image_size}×{self.image_size}" if protocol == "model" else "own size"

    def title(self, benchmark: str) -> str:
        """Name the data of a benchmark, so that RefShapes is not shown under its name."""
        return name_benchmark(benchmark, self.source, self.incomplete)


def note_with_val(runs: list[Measured]) -> list[str]:
    """Return the footnote that names the val splits which were trained on; none where none was."""
    return [
        f"Run {run.run} was trained on the val split of {run.title(name)} too: its values there are no test."
        for run in runs
        for name in sorted(run.with_val)
    ]


def all_synthetic(runs: list[Measured]) -> bool:
    """Return whether the runs were measured on RefShapes.

    Raises:
        ValueError: only some of them were.
    """
    sources = {run.source for run in runs}
    if len(sources) > 1:
        raise ValueError("RefShapes and real data do not go into one table or figure")
    return sources == {"refshapes"}


def load_metrics(path: Path) -> pd.DataFrame:
    """Load results/<run>/metrics.json.

    Args:
        path: the file.

    Returns:
        `Measured.scores`, in the order of the benchmarks and splits.

    Raises:
        UserError: the file is missing, or it does not hold metrics.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: evaluate the run first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
    found = {
        (benchmark, split, protocol): values
        for benchmark, splits in _items(tree, path, ())
        for split, protocols in _items(splits, path, (benchmark,))
        for protocol, values in _items(protocols, path, (benchmark, split))
    }
    order = [
        (benchmark.name, split, protocol)
        for benchmark in ALL_BENCHMARKS.values()
        for split in benchmark.splits
        for protocol in PROTOCOLS
    ]
    for keys in found:
        if keys not in order:
            raise UserError(f"{path}: {' → '.join(keys)} is not a known benchmark → split → protocol")
    if not found:
        raise UserError(f"{path} holds no metrics: evaluate the run again")
    return pd.DataFrame(
        dict(zip(("benchmark", "split", "protocol"), keys, strict=True)) | _numbers(found[keys], path, keys)
        for keys in order
        if keys in found
    )


def _items(tree: Any, path: Path, keys: tuple[str, ...]) -> list[tuple[str, Any]]:
    if not isinstance(tree, dict):
        raise UserError(f"{path}: {' → '.join(keys) or 'the file'} is {type(tree).__name__}, not a mapping")
    return list(tree.items())


def _numbers(values: Any, path: Path, keys: tuple[str, ...]) -> dict[str, float]:
    found = dict(_items(values, path, keys))
    numbers = {}
    for name in (*METRICS, *COUNTS):
        value = found.get(name)
        largest = 100 if name in METRICS else math.inf
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
            allowed = "a percentage" if name in METRICS else "a count"
            raise UserError(f"{path}: {' → '.join((*keys, name))} is {value!r}, not {allowed}")
        numbers[name] = value
    return numbers
