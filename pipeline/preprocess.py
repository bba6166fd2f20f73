"""Stage 2: REFER records of one benchmark → data/prepared/<benchmark>.parquet, checked."""

import sys

from context import PREPARED, RAW, set_up_logging

from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.refer.prepare import prepare


def main() -> None:
    set_up_logging()
    (benchmark,) = sys.argv[1:]
    prepare(benchmark, RAW, PREPARED, load_params().preprocess)


if __name__ == "__main__":
    exit_on_user_error(main)
