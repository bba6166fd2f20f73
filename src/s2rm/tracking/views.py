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
from typing import Any

from s2rm.tracking.mlflow_store import MlflowStore

KEY, NAME = "s2rm", "Comparison"
TAG = f"mlflow.sharedViewState.{KEY}"
FIRST = ("val/mean/mIoU", "val/mean/oIoU")  # of all trainings, also unfinished ones
MOST_METRICS, MOST_PARAMS = 6, 8
# Parameters that differ without being a difference of the model.
UNTOLD = ("run", "train.workers", "train.device", "train.save_every", "train.log_every", "evaluate.workers")


def write_view(store: MlflowStore) -> None:
    """Write the view of the runs as they are now; an equal one is left alone."""
    runs = store.list_data()
    state = describe_view([metrics for metrics, _ in runs], [params for _, params in runs])
    known = store.read_experiment_tag(TAG)
    if known is not None and json.loads(known).get("state") == state:
        return
    content = {"name": NAME, "createdAt": time.time_ns() // 1_000_000, "state": state}
    store.set_experiment_tag(TAG, json.dumps(content, separators=(",", ":")))


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
    splits = [name for name in known if name.startswith("oIoU/")]
    return [*(name for name in FIRST if name in known), *splits][:MOST_METRICS]


def choose_params(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """Choose the parameters that not all runs share, and the seed."""
    known: dict[str, Any] = dict.fromkeys(name for params in runs for name in params)
    differing = [
        name for name in known if name not in UNTOLD and len({params.get(name) for params in runs}) > 1
    ]
    return list(dict.fromkeys([*differing[: MOST_PARAMS - 1], "train.seed"])) if known else []
