"""Check the data that the parameters name: what is there, and what each run needs of it."""

from collections.abc import Iterator
from pathlib import Path

from s2rm.acquire.archives.catalog import choose_route, load_catalog
from s2rm.acquire.archives.store import GIGABYTE, ArchiveStore, require_space
from s2rm.acquire.folder import require_folder
from s2rm.acquire.own_folder import find_folder
from s2rm.checks.findings import Finding, attempt
from s2rm.config.benchmarks import Source
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.core.project import PREPARED, RAW, SCRATCH
from s2rm.data.requirements import (
    count_expressions,
    require_evaluation_splits,
    require_images,
    require_training_splits,
)
from s2rm.refer.provenance import read_provenance


def check_data(params: Params, root: Path) -> Iterator[Finding]:
    """Yield what is found about the data, without reading an image.

    Args:
        params: all parameters.
        root: folder of the project.
    """
    yield attempt("data: catalog", lambda: _check_catalog(params, root))
    yield attempt(f"data: {params.data.source}", lambda: _check_source(params, root))
    prepared = set()
    for name in params.data.benchmarks:
        finding = _check_benchmark(name, params.data.source, root)
        if finding.status == "ok":
            prepared.add(name)
        yield finding
    for run, chosen in params.runs.items():
        if prepared >= {*chosen.train_on, *chosen.evaluate_on}:
            yield _check_run(params, root, run)
        else:
            yield Finding(f"run {run}", "not checked", "its data are not prepared")


def _check_catalog(params: Params, root: Path) -> str:
    load_catalog(root / params.data.catalog)
    return params.data.catalog


def _check_source(params: Params, root: Path) -> str:
    data = params.data
    if data.source == "folder":
        folder = find_folder(data, root)
        require_folder(folder, list(data.benchmarks))
        return f"{folder} is complete"
    if data.source == "archives":
        return _check_archives(params, root)
    return "drawn by the stage `download`"


def _check_archives(params: Params, root: Path) -> str:
    """Compare what is to be downloaded and unpacked with the disk; nothing is downloaded or verified."""
    catalog = load_catalog(root / params.data.catalog)
    store = ArchiveStore.from_environment(root / SCRATCH / "archives", catalog, offline=True)
    names = [
        name
        for benchmark in params.data.benchmarks
        for name in catalog.files(benchmark, choose_route(benchmark, params.data.referit)).all
    ]
    if all((root / RAW / benchmark).is_dir() for benchmark in params.data.benchmarks):
        return f"{len(set(names))} archives, unpacked in {RAW}"
    missing = [name for name in dict.fromkeys(names) if not store.path(name).is_file()]
    archives = [catalog.archive(name) for name in missing]
    need = sum((archive.size or 0) + archive.kept for archive in archives)
    folder = store.folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    require_space(existing, need)
    to_come = f"{len(missing)} of {len(set(names))} archives are to be downloaded"
    return f"{to_come}: at least {need / GIGABYTE:.1f} GB of disk"


def _check_benchmark(name: str, source: Source, root: Path) -> Finding:
    """Count the expressions of a benchmark, where it is prepared from the source that the parameters name."""
    what = f"data: {name}"
    if not (root / PREPARED / f"{name}.parquet").exists():
        return Finding(what, "not checked", "not prepared yet: `dvc repro` does it")

    def look() -> str:
        counts = count_expressions(root / PREPARED, name)
        return ", ".join(f"{split} {count:,}" for split, count in counts.items()) + " expressions"

    finding = attempt(what, look)
    origin = attempt(what, lambda: read_provenance(root / RAW / name).source)
    if origin.status == "error":
        return origin
    if origin.found not in (source, "unknown"):
        return Finding(
            what, "not checked", f"prepared from data.source={origin.found}: `dvc repro` replaces it"
        )
    return finding


def _check_run(params: Params, root: Path, name: str) -> Finding:
    run = params.runs[name]

    def look() -> str:
        require_training_splits(root / PREPARED, run.train_on)
        require_evaluation_splits(root / PREPARED, run.evaluate_on)
        if not (root / RAW).is_dir():
            raise UserError(f"{RAW} is missing, which holds the images: run `dvc repro download`")
        require_images(root / RAW, {*run.train_on, *run.evaluate_on})
        return f"trains on {', '.join(run.train_on)}; evaluates {', '.join(run.evaluate_on)}"

    finding = attempt(f"run {name}", look)
    if finding.status != "ok":
        return finding
    rows = sum(count_expressions(root / PREPARED, benchmark)["train"] for benchmark in run.train_on)
    batch = params.train.expressions_per_batch * params.train.accumulation
    if batch > rows:
        return Finding(
            f"run {name}",
            "warning",
            f"an optimiser step takes {batch} expressions, the data have {rows}: an epoch is a single step; "
            "lower train.expressions_per_batch or train.accumulation",
        )
    return finding
