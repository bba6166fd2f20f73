"""Everything that the report says of one run, read from results/<run>/."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.reporting.examples import Inspection, load_inspection
from s2rm.reporting.run_metrics import Measured, load_metrics
from s2rm.reporting.scored import Scored, Split, measure
from s2rm.reporting.scores_io import load_history, load_scores


@dataclass(frozen=True)
class RunResults:
    """A trained and evaluated run."""

    measured: Measured
    scores: dict[Split, pd.DataFrame]
    """One row per expression, as `load_scores` returns them."""
    splits: dict[Split, Scored]
    mean: Scored | None
    """Over the val splits; None where there is none."""
    analyses: dict[Split, dict[str, Any]]
    """As `s2rm.scoring.analysis.Analysis.to_json` returns them."""
    history: pd.DataFrame
    inspection: Inspection
    training: dict[str, Any]
    """Of the training: run_id (of its record), commit, parameters (in words), and what else `train` kept."""

    @property
    def name(self) -> str:
        """The run's name in the parameters."""
        return self.measured.run

    @property
    def headline(self) -> tuple[str, Scored]:
        """What the run is judged by, named for people: the mean over its val splits, or its first split."""
        val = [key for key in self.splits if key[1] == "val"]
        if self.mean is None:
            first = next(iter(self.splits))
            return self.title(first), self.splits[first]
        return self.title(val[0]) if len(val) == 1 else f"mean of the {len(val)} val splits", self.mean

    def title(self, key: Split) -> str:
        """Name a split for people: "RefCOCO testA"."""
        return f"{self.measured.title(key[0])} {key[1]}"


def load_run(params: Params, name: str, results: Path, incomplete: Collection[str] = ()) -> RunResults:
    """Read the results of a run.

    Args:
        params: all parameters.
        name: of the run.
        results: the folder with <run>/ of each run.
        incomplete: benchmarks whose data are only a part.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    run, folder = params.get_run(name), results / name
    measured = Measured(
        run=name,
        source=params.data.source,
        backbone=params.vision.backbone,
        image_size=params.vision.image_size,
        scores=load_metrics(folder / "metrics.json"),
        incomplete=frozenset(incomplete) & set(run.evaluate_on),
        with_val=frozenset(params.train.with_val) & set(run.train_on) & set(run.evaluate_on),
    )
    keys = [tuple(key) for key in measured.scores[["benchmark", "split"]].drop_duplicates().to_numpy()]
    scores = {key: load_scores(folder / f"{key[0]}-{key[1]}.parquet") for key in keys}
    splits, mean = measure(scores)
    return RunResults(
        measured=measured,
        scores=scores,
        splits=splits,
        mean=mean,
        analyses={key: _load_json(folder / f"{key[0]}-{key[1]}-analysis.json") for key in keys},
        history=load_history(folder / "history.jsonl"),
        inspection=load_inspection(folder / "inspect", source=params.data.source, incomplete=incomplete),
        training=_load_json(folder / "mlflow.json"),
    )


def _load_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: evaluate the run first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is {type(found).__name__}, not a mapping: evaluate the run again")
    return found
