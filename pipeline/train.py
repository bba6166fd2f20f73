"""Stage 3: trains one run → models/<run>/, live in MLflow."""

import json
import shutil
import sys
from collections.abc import Mapping

from context import MODELS, PREPARED, RAW, ROOT, WEIGHTS, set_up_logging, tags

from s2rm.errors import exit_on_user_error
from s2rm.params import load_params
from s2rm.tracking import Store, flatten
from s2rm.training.fingerprint import fingerprint
from s2rm.training.loop import train_run


def main() -> None:
    set_up_logging()
    (name,) = sys.argv[1:]
    params = load_params()
    run = params.get_run(name)
    # The state of an unfinished training lies outside of what DVC deletes before it runs a stage.
    scratch = ROOT / ".scratch" / fingerprint(params, run, PREPARED, WEIGHTS)
    run_file = MODELS / f"{name}.mlflow.json"
    run_file.parent.mkdir(parents=True, exist_ok=True)
    paths = {
        "prepared": PREPARED,
        "raw": RAW,
        "weights": WEIGHTS,
        "output": MODELS / name,
        "scratch": scratch,
    }
    if params.tracking.enabled:
        store = Store(ROOT, params.tracking.experiment)
        origin = tags()
        title = f"{origin['dvc.experiment']}-{name}" if "dvc.experiment" in origin else name
        recorded = {**flatten(params.model_dump()), "run": name}
        with store.training(title, recorded, {**origin, "run": name}, scratch / "run.json") as run_id:

            def log(metrics: Mapping[str, float], step: int) -> None:
                store.log_metrics(run_id, metrics, step)

            train_run(params, run, log=log, **paths)
    else:
        run_id = None
        train_run(params, run, log=lambda metrics, step: None, **paths)
    run_file.write_text(json.dumps({"run_id": run_id}) + "\n", encoding="utf-8")
    shutil.rmtree(scratch)  # finished: nothing is left to continue


if __name__ == "__main__":
    exit_on_user_error(main)
