"""Stage 3: trains one run → models/<run>/, live in MLflow."""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from context import MODELS, PREPARED, RAW, ROOT, WEIGHTS, is_main_process, launch, set_up_logging, tags
from scratch import hold, mark_finished, scratch_of

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.environment import describe_environment
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory, make_deterministic
from s2rm.tracking import MlflowStore
from s2rm.training.loop import train_run


def main() -> None:
    launch()
    set_up_logging()
    (name,) = sys.argv[1:]
    params = load_params()
    keep_freed_memory()
    make_deterministic(params.train.deterministic)
    run = params.get_run(name)
    scratch = scratch_of(params, run, PREPARED, WEIGHTS)
    train = partial(
        train_run,
        params,
        run,
        prepared=PREPARED,
        raw=RAW,
        weights=WEIGHTS,
        output=MODELS / name,
        scratch=scratch,
    )
    if not is_main_process():
        train(log=_log_nothing)
        return
    run_file = MODELS / f"{name}.mlflow.json"
    run_file.parent.mkdir(parents=True, exist_ok=True)
    with hold(scratch):
        run_id = None
        if params.tracking.enabled:
            run_id = _train_tracked(train, params, name, scratch)
        else:
            train(log=_log_nothing)
        run_file.write_text(json.dumps({"run_id": run_id}) + "\n", encoding="utf-8")
        mark_finished(scratch, MODELS / name)


def _train_tracked(train: partial, params: Params, name: str, scratch: Path) -> str:
    """Trains in an MLflow run; its id."""
    store = MlflowStore(ROOT, params.tracking.experiment)
    origin = tags()
    title = f"{origin['dvc.experiment']}-{name}" if "dvc.experiment" in origin else name
    recorded = {**params.flatten(), "run": name}
    with store.training(title, recorded, {**origin, "run": name}, scratch / "run.json") as run_id:
        store.log_json(run_id, describe_environment(), "environment.json")
        known = store.last_steps(run_id)

        def log(metrics: Mapping[str, float], step: int) -> None:
            # What was done since the last saved state is done again, to the same bits: one point each.
            new = {key: value for key, value in metrics.items() if step > known.get(key, -1)}
            store.log_metrics(run_id, new, step)

        train(log=log)
    return run_id


def _log_nothing(metrics: Mapping[str, float], step: int) -> None:
    pass


if __name__ == "__main__":
    exit_on_user_error(main)
