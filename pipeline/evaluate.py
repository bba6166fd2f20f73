"""Stage 4: score one run on every split of its benchmarks → results/<run>/, reports/metrics/<run>.json.

    python pipeline/evaluate.py RUN

Reads models/<run>/, data/prepared/ (tables) and data/raw/images/; writes one table of scores per split, one
row per expression, and the metrics computed from them. Then deletes the state of the finished training from
.scratch/. The demo takes about half a minute on two CPU cores.
"""

import json

import context  # noqa: F401
from arguments import read_name
from launch import launch
from logs import is_main_process, set_up_logging
from paths import METRICS, MODELS, PREPARED, RAW, RESULTS
from scratch import discard_finished

from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.files import replace_text
from s2rm.core.process import keep_freed_memory
from s2rm.evaluation.evaluate import evaluate_benchmarks


def main() -> None:
    """Evaluate the run that the command line names."""
    params = load_params()
    name = read_name("RUN", params.runs)
    launch()
    set_up_logging()
    keep_freed_memory()
    metrics = evaluate_benchmarks(
        MODELS / name,
        list(params.get_run(name).evaluate_on),
        prepared=PREPARED,
        raw=RAW,
        output=RESULTS / name,
        params=params.evaluate,
    )
    if not is_main_process():
        return
    replace_text(METRICS / f"{name}.json", json.dumps(metrics, indent=2) + "\n")
    discard_finished(MODELS / name)


if __name__ == "__main__":
    exit_on_user_error(main)
