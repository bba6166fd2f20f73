"""Stage 4: scores one run on every split of its benchmarks → results/<run>/, reports/metrics/<run>.json."""

import json
import sys

from context import METRICS, MODELS, PREPARED, RAW, RESULTS, is_main_process, launch, set_up_logging
from scratch import discard_finished

from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory
from s2rm.evaluation.evaluate import evaluate_benchmarks


def main() -> None:
    launch()
    set_up_logging()
    (name,) = sys.argv[1:]
    params = load_params()
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
    METRICS.mkdir(parents=True, exist_ok=True)
    (METRICS / f"{name}.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    discard_finished(MODELS / name)


if __name__ == "__main__":
    exit_on_user_error(main)
