"""Stage 4: score one run on every split of its benchmarks → results/<run>/.

    python pipeline/evaluate.py RUN

Reads models/<run>/, data/prepared/ (tables) and data/raw/images/. results/<run>/ then holds all that the
report needs of the run: one table of scores per split with one row per expression, the metrics computed from
them, examples, affinities of words, gates, balancing weights and calibration (inspect/), what is to be known
of the data (data/), the training's history and the id of its MLflow run. Deletes the state of the finished
training from .scratch/. The demo takes about half a minute on two CPU cores.
"""

import json
import shutil
from functools import partial

import context  # noqa: F401
from arguments import read_name
from launch import launch
from logs import is_main_process, set_up_logging
from paths import HISTORY, INCOMPLETE, MODELS, OVERLAP, PREPARED, RAW, RESULTS, RUN_ID, TABLES, refuse_links
from scratch import discard_finished
from training_key import digest_tables

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.files import replace, replace_text
from s2rm.core.process import keep_freed_memory
from s2rm.core.project import require_writable
from s2rm.data.split_overlap import read_image_splits, report_shared
from s2rm.evaluation.evaluate import evaluate_benchmarks
from s2rm.refer.split_sizes import find_incomplete


def main() -> None:
    """Evaluate the run that the command line names."""
    params = load_params()
    name = read_name("RUN", params.runs)
    require_writable(RESULTS / name)
    launch()
    set_up_logging()
    refuse_links()
    keep_freed_memory()
    evaluate_benchmarks(
        MODELS / name,
        list(params.get_run(name).evaluate_on),
        prepared=PREPARED,
        raw=RAW,
        output=RESULTS / name,
        params=params.evaluate,
    )
    if not is_main_process():
        return
    _describe_data(params, name)
    shutil.copyfile(MODELS / name / HISTORY, RESULTS / name / HISTORY)
    shutil.copyfile(MODELS / f"{name}.mlflow.json", RESULTS / name / RUN_ID)
    discard_finished(MODELS / name)


def _describe_data(params: Params, name: str) -> None:
    """Write which data these are, which benchmarks are only a part, and which splits share images."""
    incomplete = sorted(find_incomplete(PREPARED, params.data.benchmarks))
    replace_text(RESULTS / name / INCOMPLETE, json.dumps(incomplete) + "\n")
    tables = digest_tables(PREPARED, params.get_run(name).evaluate_on)
    replace_text(RESULTS / name / TABLES, json.dumps(tables, indent=2) + "\n")
    shared = report_shared(read_image_splits(PREPARED, params.data.benchmarks))
    replace(RESULTS / name / OVERLAP, partial(shared.to_parquet, index=False))


if __name__ == "__main__":
    exit_on_user_error(main)
