"""Stage 2: REFER records of one benchmark → data/prepared/<benchmark>.parquet, checked."""

import sys

from context import PREPARED, RAW, set_up_logging

from s2rm.data.prepare import prepare
from s2rm.errors import exit_on_user_error
from s2rm.params import load_params


def main() -> None:
    set_up_logging()
    (benchmark,) = sys.argv[1:]
    prepare(benchmark, RAW, PREPARED, load_params().preprocess)


if __name__ == "__main__":
    exit_on_user_error(main)
