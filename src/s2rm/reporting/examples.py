"""Read what evaluation found inside a run: examples, a view of the gates and one of the words, weights."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2rm.config.benchmarks import Source, name_benchmark
from s2rm.core.errors import UserError
from s2rm.core.files import replace, replace_text
from s2rm.data.images import read_image
from s2rm.data.rle import decode
from s2rm.reporting.overlays import Example

MOST_SAVED = 6


@dataclass(frozen=True)
class StageView:
    """What one stage computes for one expression; its maps have h×w positions."""

    example: Example
    stage: int
    """1 (stride 4) to 4 (stride 32)."""


@dataclass(frozen=True)
class SweepView(StageView):
    """Gates, weights and shares of a stage with K parsed semantics."""

    places: list[tuple[str, int]]
    """Role and rotation of each parsed semantic."""
    gates: NDArray[np.float32]
    """(K, h, w), update gates in 0…1, the mean over channels."""
    weights: NDArray[np.float32]
    """(K,), the mean over channels, summing to 1."""
    shares: NDArray[np.float32]
    """(K, h, w), summing to 1 over K."""


@dataclass(frozen=True)
class WordView(StageView):
    """Where the T tokens of the expression go."""

    tokens: list[str]
    special: list[int]
    """Which of the tokens frame every expression, as [CLS] and [SEP]; their indices, 0..T−1."""
    kind: str
    """Of the affinity: "sigmoid" or "softmax"."""
    affinity: NDArray[np.float32]
    """(T, h, w), of each token and position, in 0…1; a softmax sums to 1 over the T."""


@dataclass(frozen=True)
class StoredExample:
    """An example whose image is read when it is wanted: a report may have a thousand of them."""

    path: Path
    """Of the image."""
    row: Mapping[Any, Any]
    """Of examples.parquet."""
    title: str
    """Benchmark and split."""

    @property
    def kind(self) -> str:
        """The kind of error, one of `s2rm.scoring.error_kinds.KINDS`."""
        return str(self.row["kind"])

    def load(self) -> Example:
        """Read the image, and decode the masks.

        Raises:
            UserError: the image is missing or cannot be read.
        """
        row = self.row
        with _explained(self.path):
            return Example(
                image=read_image(self.path),
                expression=row["expression"],
                truth=decode(row["mask_rle"], row["height"], row["width"]),
                predicted=decode(row["predicted_rle"], row["height"], row["width"]),
                iou=row["iou"],
                score=row["score"],
                kind=row["kind"],
                title=self.title,
            )


@dataclass(frozen=True)
class Inspection:
    """The files that `s2rm.evaluation.inspect` wrote for a run."""

    examples: list[Example] = field(default_factory=list)
    """Those of the sheet of examples."""
    pictures: list[StoredExample] = field(default_factory=list)
    """All of them: failures, and those of the sheet."""
    view: SweepView | None = None
    """None where the model has no gates."""
    words: WordView | None = None
    """None where the model does not distribute words by attention."""
    weights: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`inspect.BALANCING_COLUMNS`; empty where the model has no balancing weights."""
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row per split and bin of probability, as `s2rm.evaluation.inspect` writes them."""


def load_inspection(folder: Path, *, source: Source, incomplete: Collection[str] = ()) -> Inspection:
    """Read results/<run>/inspect.

    Args:
        folder: the folder.
        source: where the data come from, so that RefShapes is not shown under a real benchmark's name.
        incomplete: benchmarks whose data are only a part.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    with _explained(folder):
        stored = {
            (row["benchmark"], row["split"], row["sent_id"]): StoredExample(
                folder / "images" / row["image"],
                row,
                f"{name_benchmark(row['benchmark'], source, incomplete)} {row['split']}",
            )
            for row in pd.read_parquet(folder / "examples.parquet").to_dict("records")
        }
        gates, words = (_load_view(folder / f"{name}.json", stored) for name in ("gates", "words"))
        if gates:
            gates["places"] = [(role, rotation) for role, rotation in gates["places"]]
        balancing = folder / "balancing.parquet"
        return Inspection(
            examples=[each.load() for each in stored.values() if each.row["in_sheet"]],
            pictures=list(stored.values()),
            view=SweepView(**gates) if gates else None,
            words=WordView(**words) if words else None,
            weights=pd.read_parquet(balancing) if balancing.is_file() else pd.DataFrame(),
            calibration=pd.read_parquet(folder / "calibration.parquet"),
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what damaged files raise into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read: {reason}; evaluate the run again") from None


def _load_view(path: Path, stored: Mapping[Any, StoredExample]) -> dict[str, Any] | None:
    """Return the fields of a view from a JSON file and the arrays beside it; None where there is no file."""
    if not path.is_file():
        return None
    about = json.loads(path.read_text(encoding="utf-8"))
    key = tuple(about.pop(part) for part in ("benchmark", "split", "sent_id"))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        return about | dict(arrays) | {"example": stored[key].load()}


def save_examples(examples: Sequence[Example], folder: Path) -> list[Path]:
    """Write images with their expressions, to try the model on: 1.png, 2.png, … and expressions.csv.

    Args:
        examples: of them the first MOST_SAVED are written.
        folder: where to.

    Returns:
        The written files.
    """
    chosen = examples[:MOST_SAVED]
    images = [folder / f"{number}.png" for number in range(1, len(chosen) + 1)]
    for path, example in zip(images, chosen, strict=True):
        replace(path, partial(example.image.save, format="PNG", optimize=True))
    rows = [(path.name, each.expression, each.title) for path, each in zip(images, chosen, strict=True)]
    table = pd.DataFrame(rows, columns=["image", "expression", "data"])
    text = table.to_csv(index=False, lineterminator="\n")
    return [*images, replace_text(folder / "expressions.csv", text)]
