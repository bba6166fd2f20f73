"""What the pipeline itself takes: imports, `s2rm --help`, `dvc repro` with nothing to do, the first batch.

    python benchmarks/overhead.py --json

The last two want a project whose `dvc repro` has run, here; else they are left out and the result says so.
"""

import subprocess
import sys
from pathlib import Path

from timing import machine, parser, show, time_interleaved

from s2rm.core.errors import exit_on_user_error

BIN = Path(sys.executable).parent
FIRST_BATCH = """
from pathlib import Path
from s2rm.config.load import load_params
from s2rm.training.rows import load_rows
from s2rm.data.tokenizer import build_tokenizer
from s2rm.data.dataset import ExpressionDataset
from s2rm.data.samplers import GroupedBatchSampler, group_by_image
params = load_params()
run = next(iter(params.runs.values()))
table, _ = load_rows(params, run, Path("data/prepared"))
tokenizer = build_tokenizer(table["expression"], params.language)
dataset = ExpressionDataset(
    table, Path("data/raw"), tokenizer, image_size=params.vision.image_size, tokens=params.language.tokens,
    mean=(0.5,) * 3, std=(0.5,) * 3,
)
batches = GroupedBatchSampler(
    group_by_image(dataset.image_path), expressions=params.train.expressions_per_batch,
    expressions_per_image=params.train.expressions_per_image, seed=1,
)
dataset.collate([dataset[rows] for rows in next(iter(batches))])
"""


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def is_reproduced() -> bool:
    """Whether `dvc repro` has nothing to do here."""
    status = subprocess.run([str(BIN / "dvc"), "status", "--quiet"], capture_output=True, check=False)
    return status.returncode == 0 and Path("data/prepared").is_dir()


def main() -> None:
    arguments = parser(__doc__).parse_args()
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
        works["process to first batch"] = lambda: run(sys.executable, "-c", FIRST_BATCH)
    else:
        left_out = {"dvc repro, first batch": "run `dvc repro` first"}
    result = {
        "seconds": time_interleaved(works, arguments.repeats),
        "left_out": left_out,
        "machine": machine(),
    }
    show(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
