"""Record evaluations in MLflow: each once, on the run of the training that it belongs to."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from s2rm.tracking.mlflow_store import NOTE, OWN_ID, MlflowStore

FILES = "s2rm.files"  # tag: a digest of the published files
EVALUATION = "evaluation"  # tag: a digest of the published evaluation
MODEL = "s2rm.model"  # tag: the id of the row in MLflow's list of models
EXPERIMENTS = "dvc.experiments"  # tag: the DVC experiments whose result this run is


def publish(
    store: MlflowStore,
    trained_run: str | None,
    name: str,
    metrics: Mapping[str, float],
    files: Mapping[str, list[Path]],
    tags: Mapping[str, str],
    experiments: Collection[str] = (),
    time: int = 0,
    datasets: Mapping[str, str] | None = None,
) -> str:
    """Record an evaluation, once, on the run of the training that it evaluates.

    Args:
        store: where to record it.
        trained_run: our own id of the training; None if the training was not tracked.
        name: name of the trained model, for a new run.
        metrics: percentages by metric/split.
        files: files to log, by artifact folder.
        tags: tags of a new run.
        experiments: names of DVC experiments, added to those that the run is known to be the result of.
        time: of the evaluation, in milliseconds since 1970.
        datasets: what was evaluated on: name → digest.

    Returns:
        The id in MLflow of the run that holds the evaluation: the training's own; a child of it, if that one
        holds another evaluation already (with another threshold, for example); or a run of its own, if
        this store does not know the training.
    """
    digest = digest_evaluation(metrics)
    run = (store.find(trained_run) or store.find_unnamed(trained_run)) if trained_run else None
    if run is None:
        own = {"trained_run": trained_run or "untracked", EVALUATION: digest}
        known = store.search(own)
        run_id = known[0].info.run_id if known else store.create(name, {**tags, **own}, time or None)
    elif run.data.tags.get(EVALUATION, digest) == digest:
        run_id = run.info.run_id
    else:
        own = {"mlflow.parentRunId": run.info.run_id, EVALUATION: digest}
        known = store.search(own)
        run_id = (
            known[0].info.run_id
            if known
            else store.create(f"{name}-evaluation", {**tags, **own}, time or None)
        )
    found = store.client.get_run(run_id)
    has = found.data.tags
    new = has.get("published") != "true"
    if new:
        points = ((metric, float(value), time, 0) for metric, value in metrics.items())
        model_id = has.get(MODEL) or store.create_model(
            run_id, _name_model(found.info.run_name), found.data.params, {"run": name}
        )
        own = {EVALUATION: digest, MODEL: model_id}
        if not has.get(NOTE):  # what a person has written stays
            own[NOTE] = _describe(metrics)
        measured_on = _find_datasets(metrics, datasets or {})
        store.log(run_id, points, tags=own, model_id=model_id, measured_on=measured_on)
        if datasets:
            store.log_datasets(run_id, datasets, "evaluation")
    content = _digest_files(files)
    if new or has.get(FILES) != content:
        store.log_files(run_id, files)
        store.log(run_id, tags={FILES: content, "published": "true"})
    known_as = set(filter(None, has.get(EXPERIMENTS, "").split(",")))
    if not known_as.issuperset(experiments):
        store.log(run_id, tags={EXPERIMENTS: ",".join(sorted(known_as.union(experiments)))})
    if found.info.status == "RUNNING" and OWN_ID not in has:
        store.set_status(run_id, "FINISHED")
    return str(run_id)


def digest_evaluation(metrics: Mapping[str, float]) -> str:
    """Return what distinguishes an evaluation from another one of the same training."""
    return hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()[:16]


def _describe(metrics: Mapping[str, float]) -> str:
    """Write mIoU and oIoU by split as a table in Markdown."""
    splits = dict.fromkeys(name.partition("/")[2] for name in metrics if name.startswith("mIoU/"))
    rows = [
        f"| {split} | {metrics[f'mIoU/{split}']:.1f} | {metrics.get(f'oIoU/{split}', float('nan')):.1f} |"
        for split in splits
    ]
    head = ["| split | mIoU | oIoU |", "|---|---:|---:|"]
    return "\n".join(
        [*head, *rows, "", "Percent, masks at the model's input size; intervals: artifact `page`."]
    )


def _find_datasets(metrics: Iterable[str], datasets: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return name and digest of the dataset that a metric, such as `oIoU/refcoco_val`, was measured on.

    Metrics leave out the partition of a benchmark (`refcoco_unc`) where the field does.
    """
    short = {name.rpartition("_")[0]: (name, digest) for name, digest in datasets.items()}
    known = short | {name: (name, digest) for name, digest in datasets.items()}
    benchmarks = {metric: metric.partition("/")[2].rpartition("_")[0] for metric in metrics}
    return {metric: known[name] for metric, name in benchmarks.items() if name in known}


def _name_model(run_name: str) -> str:
    """Return a run's name without the characters that MLflow refuses in names of models."""
    return re.sub(r"[/:.%\"']+", "-", run_name)


def _digest_files(files: Mapping[str, list[Path]]) -> str:
    digest = hashlib.sha256()
    for folder, paths in files.items():
        for path in paths:
            digest.update(f"{folder}/{path.name}:".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
