"""Stage 3: train one run → models/<run>/, live in MLflow.

    python pipeline/train.py RUN

Reads data/prepared/ (tables), data/raw/images/ and data/weights/ (pretrained encoders); writes
models/<run>/, a folder that `S2RM.from_pretrained` reads, and models/<run>.mlflow.json with the id of its
record in .tracking/, its time and its machine. A training that was stopped continues from its state in
.scratch/. The demo takes three to six minutes on two CPU cores.
"""

import json
from functools import partial
from pathlib import Path

import context  # noqa: F401
from arguments import read_name
from launch import launch
from logs import is_main_process, set_up_logging
from paths import MODELS, PREPARED, RAW, ROOT, SCRATCH, WEIGHTS, refuse_links
from provenance import counted, describe_end
from scratch import locked, mark_finished
from tags import collect_tags, describe_run, name_parameters
from training_key import describe_training, find_scratch, open_scratch

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.devices import choose_device
from s2rm.core.environment import describe_environment
from s2rm.core.errors import exit_on_user_error
from s2rm.core.files import replace_text
from s2rm.core.process import keep_freed_memory, make_deterministic
from s2rm.core.project import require_writable
from s2rm.tracking.live import record_training
from s2rm.training.loop import train_run


def main() -> None:
    """Train the run that the command line names, or continue its training."""
    params = load_params()
    name = read_name("RUN", params.runs)
    require_writable(MODELS, SCRATCH)
    launch()
    set_up_logging()
    refuse_links()
    keep_freed_memory()
    make_deterministic(params.train.deterministic)
    run = params.get_run(name)
    parts = describe_training(params, run, PREPARED, WEIGHTS)
    scratch = find_scratch(parts)
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
        train()
        return
    with locked(scratch):
        open_scratch(name, parts)
        title, tags = describe_run(params, name, choose_device(params.train.device).type)
        run_id, seconds = None, scratch / "seconds.json"
        with counted(seconds):
            if params.tracking.enabled:
                run_id = _train_tracked(train, params, scratch, title, tags, parts["data"])
            else:
                train()
        about = {"run_id": run_id, "parameters": name_parameters(tags), **describe_end(seconds)}
        replace_text(MODELS / f"{name}.mlflow.json", json.dumps(about, indent=2) + "\n")
        mark_finished(scratch, MODELS / name)


def _train_tracked(
    train: partial,
    params: Params,
    scratch: Path,
    title: str,
    tags: dict[str, str],
    tables: dict[str, str],
) -> str:
    """Train, record it under this title and with these tags, and return the id of the record."""
    name = tags["run"]
    with record_training(
        ROOT,
        params.tracking.experiment,
        scratch / "run.json",
        name=title,
        params={**params.flatten(), "run": name},
        tags={**collect_tags(), **tags},
        datasets={
            Path(file).stem: digest
            for file, digest in tables.items()
            if Path(file).stem in params.get_run(name).train_on
        },
    ) as journal:
        journal.log_json("environment.json", describe_environment())
        train(log=journal.log)
    return journal.identity


if __name__ == "__main__":
    exit_on_user_error(main)
