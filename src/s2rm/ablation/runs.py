"""Collect recorded runs for the ablation table: their scores per expression and their learning curves.

A run is recorded in MLflow with the parameters and the results of its evaluation. MLflow's store is local to
a machine; `save_study` writes what was collected from it to one small file, kept in git, which is used from
then on.
"""

import json
import re
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
from s2rm.reporting.scores_io import load_columns, load_history
from s2rm.tracking import MlflowStore, RecordedRun

LABELS = ["variant", "run", "benchmark", "split", "kind"]
EXPRESSION = ["sent_id", "image_id"]
PIXELS = ["intersection", "union"]  # at the model's input size
NUMBERS = ["seed", *EXPRESSION, *PIXELS]
CURVE = [*LABELS[:2], "seed", "epoch", "step", "benchmark", "mIoU", "oIoU"]  # val, percent
# In the schema metadata of the saved file: the full model's parameters, and the learning curves.
FULL_MODEL, CURVES = b"s2rm.full_model", b"s2rm.curves"


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


class Study(NamedTuple):
    """What was collected.

    Attributes:
        scores: the columns LABELS and NUMBERS, one row per recorded run and expression; its kind is "" unless
            `add_kinds` found it.
        curves: the columns CURVE, one row per recorded run, validation and benchmark.
        left_out: one line for each recorded run that is left out, with the reason.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    left_out: list[str]


Collected = dict[RunKey, tuple[pd.DataFrame, pd.DataFrame]]  # scores and curve of each run


def collect(full: Params, store: MlflowStore | None, saved: Path) -> Study:
    """Collect the runs of the full model and its variants.

    Args:
        full: parameters of the full model.
        store: the recorded runs; None if nothing was recorded.
        saved: file that `save_study` wrote; it may be missing. The store takes precedence over it.

    Raises:
        UserError: `saved` was not written by `save_study`, or for another full model.
    """
    found: Collected = {}
    left_out = _add_recorded(found, full, store) if store else []
    _add_saved(found, full, saved)
    for run in full.runs:
        left_out += _drop_unpaired(found, run)
    variants = order_variants({key.variant for key in found}, full)
    runs = list(full.runs)
    keys = sorted(found, key=lambda key: (variants.index(key.variant), runs.index(key.run), key.seed))
    empty = pd.DataFrame(columns=[*LABELS, *NUMBERS]), pd.DataFrame(columns=CURVE)
    scores, curves = zip(*(found[key] for key in keys), strict=True) if keys else [[table] for table in empty]
    return Study(pd.concat(scores, ignore_index=True), pd.concat(curves, ignore_index=True), left_out)


def save_study(study: Study, full: Params, path: Path) -> Path:
    """Write what `collect` returned to one file, with the parameters of the full model; return `path`."""
    table = pa.Table.from_pandas(study.scores.astype(dict.fromkeys(LABELS, "category")), preserve_index=False)
    curves = study.curves.to_json(orient="split", index=False, double_precision=4)
    table = table.replace_schema_metadata({FULL_MODEL: json.dumps(describe_full(full)), CURVES: curves})
    return replace(
        path, lambda partial: pq.write_table(table, partial, compression="zstd", compression_level=19)
    )


def _add_recorded(collected: Collected, full: Params, store: MlflowStore) -> list[str]:
    left_out = []
    for recorded in store.list_runs():  # latest first
        try:
            with TemporaryDirectory() as folder:
                key, found = _read_recorded(store, recorded, full, Path(folder))
            if key in collected:
                raise UserError(f"a later run of {key} is used")
            collected[key] = found
        except UserError as error:
            left_out.append(f"{recorded.title} ({recorded.run_id[:8]}): {error}")
    return left_out


def _read_recorded(
    store: MlflowStore, recorded: RecordedRun, full: Params, folder: Path
) -> tuple[RunKey, tuple[pd.DataFrame, pd.DataFrame]]:
    """Return the key, the scores and the curve of a run; a `UserError` says why it is left out."""
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
        curve = _read_curve(results / "history.jsonl")
    except UserError as error:
        raise UserError(str(error).replace(f"{results}/", "")) from None
    key = RunKey(name_variant(params, full), recorded.run, params.train.seed)
    scores = scores.assign(**key._asdict())[[*LABELS, *NUMBERS]]
    curve = curve.assign(**key._asdict())[CURVE]
    return key, (scores.astype(dict.fromkeys(NUMBERS, "int32")), curve)


def _read_scores(params: Params, run: str, results: Path) -> Iterator[pd.DataFrame]:
    names = {"intersection_model": "intersection", "union_model": "union"}
    for benchmark in params.get_run(run).evaluate_on:
        for split in get_benchmark(benchmark).evaluation_splits:
            path = results / f"{benchmark}-{split}.parquet"
            if path.exists():  # a split without expressions has no file
                scores = load_columns(path, [*EXPRESSION, *names]).rename(columns=names)
                yield scores.sort_values("sent_id").assign(benchmark=benchmark, split=split, kind="")


def _read_curve(path: Path) -> pd.DataFrame:
    """Return the scores of a training's validations: epoch, step, benchmark, mIoU, oIoU."""
    if not path.exists():  # published by an earlier version
        return pd.DataFrame(columns=CURVE)
    history = load_history(path)
    names = [key.split("/")[1] for key in map(str, history) if re.fullmatch("val/.*/mIoU", key)]
    parts = [
        history[["epoch", "step"]].assign(
            benchmark=name, **{metric: history[f"val/{name}/{metric}"] for metric in ("mIoU", "oIoU")}
        )
        for name in names
        if name != "mean"
    ]
    return pd.concat(parts).sort_values(["epoch", "benchmark"], ignore_index=True)


def _add_saved(collected: Collected, full: Params, path: Path) -> None:
    if not path.exists():
        return
    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        described = json.loads(metadata[FULL_MODEL])
        curves = pd.DataFrame(**json.loads(metadata[CURVES]))[CURVE]
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
    keys = list(RunKey._fields)
    of_curve = dict(list(curves.groupby(keys, sort=False)))
    for key, part in saved.groupby(keys, sort=False):
        collected.setdefault(RunKey._make(key), (part, of_curve.get(key, curves[:0])))


def _drop_unpaired(collected: Collected, run: str) -> list[str]:
    """Drop the runs that were not scored on the same expressions as the latest run of the full model."""
    columns = ["benchmark", "split", *EXPRESSION]
    of_run = {key: scores[columns].to_numpy() for key, (scores, _) in collected.items() if key.run == run}
    full = next((found for key, found in of_run.items() if key.variant == FULL), None)
    unpaired = [key for key, found in of_run.items() if full is not None and not np.array_equal(found, full)]
    for key in unpaired:
        del collected[key]
    return [f"{key}: scored on other expressions than the full model" for key in unpaired]
