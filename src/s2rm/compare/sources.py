"""Finds the scores of a model by what people call it: a file, a folder, a run, an experiment, a revision.

    results/joint                        a folder of scores, of an evaluation or of `s2rm score --output`
    scores/refcoco_unc-testA.parquet     the scores of one split
    no-balancing, HEAD~3, v1.0           a DVC experiment or git revision, with `:RUN` if it has several runs
    3f2a9c01                             an MLflow run, by the beginning of its id, or by its name

Several of them, joined by commas, are the trainings of one model with different seeds.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from s2rm.config.benchmarks import ALL_BENCHMARKS, get_benchmark
from s2rm.core.errors import UserError
from s2rm.core.files import load_json
from s2rm.reporting.scores_io import load_columns
from s2rm.tracking import MlflowStore, has_store

SplitKey = tuple[str, str]  # benchmark, split
COLUMNS = (
    *("sent_id", "image_id", "intersection_model", "union_model"),
    *("intersection_original", "union_original"),
)
TABLES = ("data/tables.json", "tables.json")  # digests of the prepared data: of an evaluation, of a record
RUN_ID = re.compile("[0-9a-f]{6,32}")


@dataclass(frozen=True)
class Source:
    """The scores of one training."""

    name: str
    """As it was called."""
    scores: dict[SplitKey, pd.DataFrame]
    """The columns that an evaluation writes, by split."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Benchmark → digest of its prepared data, where it is known."""


def load_group(names: str, root: Path, folder: Path, experiment: str) -> list[Source]:
    """Load the scores of a model, of one or several trainings.

    Args:
        names: what they are called, joined by commas.
        root: folder of the project.
        folder: for what must be fetched.
        experiment: name of the experiment in MLflow.

    Raises:
        UserError: there is nothing of this name, or its scores cannot be read.
    """
    return [load_source(name.strip(), root, folder, experiment) for name in names.split(",") if name.strip()]


def load_source(name: str, root: Path, folder: Path, experiment: str) -> Source:
    """Load the scores of one training; arguments and errors are those of `load_group`."""
    path = Path(name)
    if path.is_file():
        return Source(name, dict([_read_split(path)]))
    if path.is_dir():
        return _read_folder(name, path)
    target = folder / re.sub(r"\W", "_", name)
    found = _fetch_run(name, root, target, experiment) or _fetch_revision(name, root, target)
    if found is None:
        raise UserError(
            f"{name} is not a file, a folder, an MLflow run of {experiment}, a git revision or a DVC "
            "experiment: correct the name"
        )
    return _read_folder(name, found)


def _read_folder(name: str, folder: Path) -> Source:
    found = dict(_read_split(path) for path in _list_splits(folder))
    if not found:
        raise UserError(f"{folder} holds no scores: they are called <benchmark>-<split>.parquet")
    file = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    digests = load_json(file) if file else {}
    return Source(name, found, {Path(table).stem: str(digest) for table, digest in digests.items()})


def _list_splits(folder: Path) -> Iterator[Path]:
    """Yield the files of scores, in the order of the benchmarks and splits."""
    for benchmark in ALL_BENCHMARKS.values():
        paths = (folder / f"{benchmark.name}-{split}.parquet" for split in benchmark.evaluation_splits)
        yield from (path for path in paths if path.is_file())


def _read_split(path: Path) -> tuple[SplitKey, pd.DataFrame]:
    key = _parse_name(path)
    if key is None:
        raise UserError(
            f"{path}: scores are called <benchmark>-<split>.parquet, as refcoco_unc-testA.parquet"
        )
    with_masks = [*COLUMNS, "score", "predicted_rle"]
    table = load_columns(path, with_masks).sort_values("sent_id", ignore_index=True)
    _require_scores(table, path)
    return key, table


def _require_scores(table: pd.DataFrame, path: Path) -> None:
    for name in COLUMNS:
        if not pd.api.types.is_integer_dtype(table[name]):
            raise UserError(f"{path}: {name} holds {table[name].dtype}, not whole numbers")
    if not table["sent_id"].is_unique:
        again = table["sent_id"][table["sent_id"].duplicated()].iloc[0]
        raise UserError(f"{path}: sent_id {again} has several rows")
    for size in ("model", "original"):
        shared, union = table[f"intersection_{size}"], table[f"union_{size}"]
        if ((shared < 0) | (shared > union)).any():
            raise UserError(f"{path}: intersection_{size} is not between 0 and union_{size} in every row")


def _parse_name(path: Path) -> SplitKey | None:
    benchmark, _, split = path.stem.rpartition("-")
    known = benchmark in ALL_BENCHMARKS and split in get_benchmark(benchmark).evaluation_splits
    return (benchmark, split) if known else None


def _fetch_run(name: str, root: Path, target: Path, experiment: str) -> Path | None:
    """Fetch the results of an MLflow run; None where there is none of this name."""
    if not has_store(root):
        return None
    try:
        runs = [run for run in MlflowStore(root, experiment).list_runs() if run.published]
    except UserError:
        return None  # it does not answer: the name may be a revision
    chosen = [run for run in runs if run.title == name]
    if not chosen and RUN_ID.fullmatch(name):
        chosen = [run for run in runs if run.run_id.startswith(name)]
    if not chosen:
        return None
    if len({run.run_id for run in chosen}) > 1:
        ids = ", ".join(run.run_id[:8] for run in chosen[:5])
        raise UserError(f"{name} is the name of several MLflow runs: give the id of one ({ids})")
    return MlflowStore(root, experiment).fetch(chosen[0].run_id, "results", target)


def _fetch_revision(name: str, root: Path, target: Path) -> Path | None:
    """Fetch the results of a git revision or a DVC experiment; None where there is none of this name."""
    revision, _, run = name.partition(":")
    commit = _find_commit(revision, root)
    if commit is None:
        return None
    runs = _list_runs(commit, root)
    if not run:
        if len(runs) != 1:
            raise UserError(
                f"{revision} has the runs {', '.join(runs)}: name one, as {revision}:{(runs or ['RUN'])[0]}"
            )
        run = runs[0]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "dvc",
            "get",
            "--quiet",
            "--rev",
            commit,
            "--out",
            str(target),
            ".",
            f"results/{run}",
        ],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = " ".join(done.stderr.split())[:200]
        raise UserError(f"the results of {name} cannot be fetched: {reason}; `dvc pull` them first")
    return target


def _list_runs(commit: str, root: Path) -> list[str]:
    """Return the names of the runs in the params.yaml of a commit; [] where it has none that can be read."""
    shown = _git(root, "show", f"{commit}:params.yaml")
    try:
        return list(YAML(typ="safe").load(shown or "")["runs"])
    except (YAMLError, LookupError, TypeError):
        return []


def _find_commit(revision: str, root: Path) -> str | None:
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit:
        return commit
    listed = _git(root, "for-each-ref", "refs/exps", "--format=%(objectname) %(refname)") or ""
    for line in listed.splitlines():
        found, _, name = line.partition(" ")
        if name.rsplit("/", 1)[-1] == revision:
            return found
    return None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, check=False, capture_output=True, text=True)
    except OSError:  # git is not installed
        return None
    return None if done.returncode else done.stdout.strip()
