"""Collect the scores per expression of recorded runs for the ablation table, and a copy of them kept in git.

A run is recorded in MLflow with the parameters and the scores of its evaluation. MLflow's store is local to
a machine; `save_scores` writes what was collected from it to one small file, which is used from then on.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from s2rm.ablation.variants import (
    FULL,
    IGNORED,
    describe_full,
    find_differing,
    must_equal,
    name_variant,
    order_variants,
)
from s2rm.config.benchmarks import get_benchmark
from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.core.files import replace
from s2rm.reporting.scores_io import load_columns
from s2rm.tracking import MlflowStore, RecordedRun

LABELS = ["variant", "run", "benchmark", "split"]
EXPRESSION = ["sent_id", "image_id"]
PIXELS = ["intersection", "union"]  # at the model's input size
NUMBERS = ["seed", *EXPRESSION, *PIXELS]
FULL_MODEL = b"s2rm.full_model"  # the full model's parameters, in the schema metadata of the saved file


class RunKey(NamedTuple):
    """What identifies a recorded run.

    Attributes:
        variant: what differs from the full model, see `name_variant`.
        run: name of the trained model in params.yaml.
        seed: the parameter `train.seed`.
    """

    variant: str
    run: str
    seed: int

    def __str__(self) -> str:
        return f"{self.variant}, run {self.run}, seed {self.seed}"


Scores = dict[RunKey, pd.DataFrame]


def collect(full: Params, store: MlflowStore | None, saved: Path) -> tuple[pd.DataFrame, list[str]]:
    """Collect the scores of the full model and its variants.

    Args:
        full: parameters of the full model.
        store: the recorded runs; None if nothing was recorded.
        saved: file that `save_scores` wrote; it may be missing. The store takes precedence over it.

    Returns:
        The columns LABELS and NUMBERS, with one row per recorded run and expression; and one line for each
        run that is left out, with the reason.

    Raises:
        UserError: `saved` was not written by `save_scores`, or for another full model.
    """
    scores: Scores = {}
    left_out = _add_recorded(scores, full, store) if store else []
    _add_saved(scores, full, saved)
    for run in full.runs:
        left_out += _drop_unpaired(scores, run)
    variants = order_variants({key.variant for key in scores}, full)
    runs = list(full.runs)
    keys = sorted(scores, key=lambda key: (variants.index(key.variant), runs.index(key.run), key.seed))
    empty = pd.DataFrame(columns=[*LABELS, *NUMBERS])
    return pd.concat([scores[key] for key in keys], ignore_index=True) if keys else empty, left_out


def save_scores(scores: pd.DataFrame, full: Params, path: Path) -> Path:
    """Write the scores of `collect` to one file, with the parameters of the full model; return `path`."""
    table = pa.Table.from_pandas(scores.astype(dict.fromkeys(LABELS, "category")), preserve_index=False)
    table = table.replace_schema_metadata({FULL_MODEL: json.dumps(describe_full(full))})
    return replace(
        path, lambda partial: pq.write_table(table, partial, compression="zstd", compression_level=19)
    )


def _add_recorded(scores: Scores, full: Params, store: MlflowStore) -> list[str]:
    left_out = []
    for recorded in store.list_runs():  # latest first
        try:
            with TemporaryDirectory() as folder:
                key, found = _read_recorded(store, recorded, full, Path(folder))
            if key in scores:
                raise UserError(f"a later run of {key} is used")
            scores[key] = found
        except UserError as error:
            left_out.append(f"{recorded.title} ({recorded.run_id[:8]}): {error}")
    return left_out


def _read_recorded(
    store: MlflowStore, recorded: RecordedRun, full: Params, folder: Path
) -> tuple[RunKey, pd.DataFrame]:
    """Return the key and the scores of a run; a `UserError` says why it is left out."""
    if recorded.run not in full.runs:
        raise UserError(f"params.yaml has no run {recorded.run!r}")
    if not recorded.published:
        finished = recorded.status == "FINISHED"
        raise UserError("not evaluated" if finished else f"not finished ({recorded.status.lower()})")
    results = store.fetch(recorded.run_id, "results", folder)
    if results is None:
        raise UserError("recorded without its scores: `dvc exp run` with its parameters adds them")
    try:
        params = load_params(results / "params.yaml")
        runs = [recorded.run]
        differing = find_differing(must_equal(params, runs), must_equal(full, runs))
        if differing:
            raise UserError(f"measured differently from the full model: {', '.join(differing)} differs")
        scores = pd.concat(_read_scores(params, recorded.run, results), ignore_index=True)
    except UserError as error:
        raise UserError(str(error).replace(f"{results}/", "")) from None
    key = RunKey(name_variant(params, full), recorded.run, params.train.seed)
    scores = scores.assign(**key._asdict())[[*LABELS, *NUMBERS]]
    return key, scores.astype(dict.fromkeys(NUMBERS, "int32"))


def _read_scores(params: Params, run: str, results: Path) -> Iterator[pd.DataFrame]:
    names = {"intersection_model": "intersection", "union_model": "union"}
    for benchmark in params.get_run(run).evaluate_on:
        for split in get_benchmark(benchmark).evaluation_splits:
            path = results / f"{benchmark}-{split}.parquet"
            if path.exists():  # a split without expressions has no file
                scores = load_columns(path, [*EXPRESSION, *names]).rename(columns=names)
                yield scores.sort_values("sent_id").assign(benchmark=benchmark, split=split)


def _add_saved(scores: Scores, full: Params, path: Path) -> None:
    if not path.exists():
        return
    try:
        table = pq.read_table(path)
        described = json.loads((table.schema.metadata or {})[FULL_MODEL])
        saved = table.to_pandas()[[*LABELS, *NUMBERS]].astype(dict.fromkeys(LABELS, "str"))
    except (OSError, ValueError, KeyError):  # pyarrow's ArrowInvalid is a ValueError
        raise UserError(
            f"{path} was not written by `s2rm ablation`: restore it with `git checkout` or delete it"
        ) from None
    described = {key: value for key, value in described.items() if key not in IGNORED}
    differing = find_differing(describe_full(full), described)
    if differing:
        raise UserError(
            f"{path} is a study of another full model, of which {', '.join(differing[:8])} differs: "
            "choose another --name, or its full model with --full"
        )
    for key, part in saved.groupby(list(RunKey._fields), sort=False):
        scores.setdefault(RunKey._make(key), part)


def _drop_unpaired(scores: Scores, run: str) -> list[str]:
    """Drop the runs that were not scored on the same expressions as the latest run of the full model."""
    columns = ["benchmark", "split", *EXPRESSION]
    of_run = {key: part[columns].to_numpy() for key, part in scores.items() if key.run == run}
    full = next((found for key, found in of_run.items() if key.variant == FULL), None)
    unpaired = [key for key, found in of_run.items() if full is not None and not np.array_equal(found, full)]
    for key in unpaired:
        del scores[key]
    return [f"{key}: scored on other expressions than the full model" for key in unpaired]
