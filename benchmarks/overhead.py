"""Time of the pipeline's overhead: imports, `s2rm --help`, `dvc repro` with nothing to do, the first batch.

    python benchmarks/overhead.py --json

The last two need a project in the current folder whose `dvc repro` has run; otherwise they are left out, and
the result says so. The first batch is that of a training: from the start of Python until it is collated.
"""

import subprocess
import sys
from pathlib import Path

from timing import build_parser, describe_machine, print_result, time_interleaved

from s2rm.core.errors import exit_on_user_error

BIN = Path(sys.executable).parent
PREPARED, RAW, ROWS = Path("data/prepared"), Path("data/raw"), Path(".scratch/overhead.arrow")


def run(*command: object) -> None:
    """Run a command without showing its output."""
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def is_reproduced() -> bool:
    """Return whether `dvc repro` has nothing to do in the current folder."""
    status = subprocess.run([str(BIN / "dvc"), "status", "--quiet"], capture_output=True, check=False)
    return status.returncode == 0 and PREPARED.is_dir()


def make_first_batch() -> None:
    """Make the first batch of the first run's training, as training does up to the model."""
    from s2rm.config.load import load_params
    from s2rm.data.dataset import ExpressionDataset
    from s2rm.data.image_zip import ImageFiles
    from s2rm.data.processor import Processor
    from s2rm.data.samplers import GroupedBatchSampler
    from s2rm.data.tokenizer import build_tokenizer
    from s2rm.training.selection import load_rows

    params = load_params()
    rows = load_rows(params, next(iter(params.runs.values())), PREPARED, ROWS)
    processor = Processor(
        build_tokenizer(rows.expressions, params.language),
        image_size=params.vision.image_size,
        max_tokens=params.language.tokens,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    dataset = ExpressionDataset(rows, ImageFiles(RAW), processor)
    batches = GroupedBatchSampler(
        rows.group_by_image(),
        expressions=params.train.expressions_per_batch,
        expressions_per_image=params.train.expressions_per_image,
        seed=params.train.seed,
    )
    dataset.collate([dataset[group] for group in next(iter(batches))])


def main() -> None:
    """Print the times."""
    parser = build_parser(__doc__)
    parser.add_argument("--first-batch", action="store_true", help="make the first batch and print nothing")
    arguments = parser.parse_args()
    if arguments.first_batch:
        make_first_batch()
        return
    works = {
        "python": lambda: run(sys.executable, "-c", "pass"),
        "import s2rm": lambda: run(sys.executable, "-c", "import s2rm"),
        "s2rm --help": lambda: run(BIN / "s2rm", "--help"),
        "import torch": lambda: run(sys.executable, "-c", "import torch"),
        "from s2rm import S2RM": lambda: run(sys.executable, "-c", "from s2rm import S2RM"),
    }
    left_out = {}
    if is_reproduced():
        works["dvc repro, nothing to do"] = lambda: run(BIN / "dvc", "repro")
        works["process to first batch"] = lambda: run(sys.executable, __file__, "--first-batch")
    else:
        left_out = {"dvc repro, first batch": "run `dvc repro` first"}
    result = {
        "seconds": time_interleaved(works, arguments.repeats),
        "left_out": left_out,
        "machine": describe_machine(),
    }
    print_result(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
