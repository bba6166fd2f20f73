"""A saved view of MLflow's list of runs: the metrics that one compares, and the parameters that differ.

MLflow keeps a view as a tag of the experiment, whose form no documentation states
(mlflow/demo/generators/saved_views.py writes the like). A browser test guards it; without it, the link shows
all columns.
"""

import base64
import json
import time
import zlib
from collections.abc import Mapping, Sequence

from s2rm.config.params import MACHINE
from s2rm.tracking.mlflow_store import MlflowStore

KEY, NAME = "s2rm", "Comparison"
TAG = f"mlflow.sharedViewState.{KEY}"
FIRST = ("mIoU/val_mean", "oIoU/val_mean")  # published: of the checkpoint that was kept
BEFORE = ("val/mean/mIoU", "val/mean/oIoU")  # of the last validation, as long as nothing is published
MOST_METRICS, MOST_PARAMS = 6, 8
UNTOLD = ("run", *MACHINE)  # parameters that differ without being a difference of the model


def write_view(store: MlflowStore) -> None:
    """Write the view of the runs as they are now; an equal one is left alone."""
    runs = store.list_data()
    state = describe_view([metrics for metrics, _ in runs], [params for _, params in runs])
    if _read_state(store.read_experiment_tag(TAG)) == state:
        return
    content = {"name": NAME, "createdAt": time.time_ns() // 1_000_000, "state": state}
    store.set_experiment_tag(TAG, json.dumps(content, separators=(",", ":")))


def _read_state(tag: str | None) -> str | None:
    try:
        return str(json.loads(tag or "")["state"])
    except (ValueError, LookupError, TypeError):  # none, or anybody has edited it
        return None


def describe_view(metrics: Sequence[Mapping[str, float]], params: Sequence[Mapping[str, str]]) -> str:
    """Return the state of the view, as MLflow's page packs it.

    Args:
        metrics: of each run.
        params: of each run.
    """
    columns = [f"metrics.`{name}`" for name in choose_metrics(metrics)]
    columns += [f"params.`{name}`" for name in choose_params(params)]
    state = {"selectedColumns": columns, "orderByAsc": False}
    if columns:
        state["orderByKey"] = columns[0]
    packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode())
    return "deflate;" + base64.b64encode(packed).decode("ascii")


def choose_metrics(runs: Sequence[Mapping[str, float]]) -> list[str]:
    """Choose the means over the val splits, then oIoU by split in the order of the runs."""
    known = dict.fromkeys(name for metrics in runs for name in metrics)
    means = [name for name in FIRST if name in known] or [name for name in BEFORE if name in known]
    splits = [name for name in known if name.startswith("oIoU/")]
    return list(dict.fromkeys([*means, *splits]))[:MOST_METRICS]


def choose_params(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """Choose the parameters in which runs differ, and the seed.

    A run that has no parameters, such as an evaluation that was published alone, does not count. Parameters
    that only some of the others have, because a version has added them, are not compared.
    """
    recorded = [params for params in runs if params]
    if not recorded:
        return []
    shared = [name for name in recorded[0] if all(name in params for params in recorded)]
    differing = [
        name for name in shared if name not in UNTOLD and len({params[name] for params in recorded}) > 1
    ]
    return list(dict.fromkeys([*differing[: MOST_PARAMS - 1], "train.seed"]))
