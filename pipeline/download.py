"""Stage 1: raw data in the REFER layout → data/raw. RefShapes is drawn; a folder is taken over."""

import os
from pathlib import Path

from context import RAW, set_up_logging

from s2rm.data.folder import lay_out_folder
from s2rm.data.refshapes import write_refshapes
from s2rm.errors import exit_on_user_error
from s2rm.params import load_params


def main() -> None:
    set_up_logging()
    data = load_params().data
    if data.source == "refshapes":
        write_refshapes(data.refshapes, list(data.benchmarks), RAW)
    else:
        folder = os.environ.get("S2RM_REAL_DATA") or str(data.folder)
        lay_out_folder(Path(folder), list(data.benchmarks), RAW)


if __name__ == "__main__":
    exit_on_user_error(main)
