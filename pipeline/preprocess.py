"""Stage 2: check the REFER records of one benchmark → data/prepared/<benchmark>.parquet.

    python pipeline/preprocess.py BENCHMARK

Reads data/raw/<benchmark>/ and data/raw/images/; writes a table with one row per expression, one with one row
per annotated object (<benchmark>-objects.parquet), and statistics and issues (<benchmark>.json). The demo
takes a few seconds per benchmark.
"""

import context  # noqa: F401
from arguments import read_name
from logs import set_up_logging
from paths import PREPARED, RAW

from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.project import require_writable
from s2rm.refer.prepare import prepare


def main() -> None:
    """Prepare the benchmark that the command line names."""
    set_up_logging()
    params = load_params()
    require_writable(PREPARED)
    prepare(read_name("BENCHMARK", params.data.benchmarks), RAW, PREPARED, params.preprocess)


if __name__ == "__main__":
    exit_on_user_error(main)
