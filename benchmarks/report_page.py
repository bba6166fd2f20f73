"""Time, memory and size of a report: five runs on ten splits of 10,000 expressions each.

    python benchmarks/report_page.py --json [--runs 5] [--expressions 10000]

Scores, analyses and pictures are made up; the pictures are noise, which WebP compresses worst. Rendering runs
in a process of its own.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from timing import build_parser, describe_machine, print_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from s2rm.config.load import load_params
from s2rm.reporting.render import render
from s2rm.scoring.error_kinds import KINDS

PICTURES = 22  # of a split, at the most
SPLITS = 10
PARAMS = Path(__file__).parents[1] / "params.yaml"
SHARED = ["trained_on", "evaluated_on", "split", "shared_images", "share", "expressions"]


def make_results(root: Path, runs: int, expressions: int) -> None:
    """Write the results of the runs, each on all benchmarks; a sheet has one example of each split."""
    import report_inputs  # with torch, which the report does not load

    report_inputs.EXPRESSIONS = expressions
    inputs = report_inputs.make_inputs(root)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
    pictures = [
        replace(
            report_inputs.make_example(f"the man {number} from the left", 480, 640),
            image=Image.fromarray(np.roll(noise, number, axis=0)),
            kind=list(KINDS)[number % len(KINDS)],
        )
        for number in range(PICTURES * SPLITS)
    ]
    words, view = report_inputs.make_words(pictures[0]), report_inputs.make_view(pictures[0])
    inputs.inspect(pictures, view, report_inputs.make_weights(), words)
    stored = inputs.results / "inspect" / "examples.parquet"
    table = pd.read_parquet(stored)
    table.assign(in_sheet=table.index < SPLITS).to_parquet(stored)
    for number in range(runs):
        shutil.copytree(inputs.results, root / "results" / f"run{number}")


def main() -> None:
    """Print the measurements."""
    parser = build_parser(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of the report (default: %(default)s)")
    parser.add_argument(
        "--expressions", type=int, default=10_000, help="of each split (default: %(default)s)"
    )
    parser.add_argument("--measure", type=Path, help="the folder of the results (used by this script itself)")
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.runs)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_results(Path(folder), arguments.runs, arguments.expressions)
        done = subprocess.run(
            [sys.executable, __file__, "--runs", str(arguments.runs), "--measure", folder],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        result = json.loads(done.stdout.splitlines()[-1])
    print_result({**result, "machine": describe_machine()}, arguments.json)


def measure(root: Path, runs: int) -> None:
    """Render the report in this process, and print what it took."""
    run = "{train_on: [refcoco_unc], evaluate_on: [refcoco_unc]}"
    names = [f"+runs.run{number}={run}" for number in range(runs)]
    source = ["data.source=folder", "data.folder=data/real"]
    params = load_params(PARAMS, [*source, *names, "~runs.joint"])
    started = time.perf_counter()
    render(params, root / "results", root / "reports", shared=pd.DataFrame(columns=SHARED))
    print(
        json.dumps(
            {
                "seconds": round(time.perf_counter() - started, 1),
                "peak_GB": round(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9, 2),
                "index_bytes": (root / "reports" / "index.html").stat().st_size,
                "examples_bytes": (root / "reports" / "examples.html").stat().st_size,
            }
        )
    )


if __name__ == "__main__":
    main()
