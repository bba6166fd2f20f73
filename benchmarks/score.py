"""Time and memory of `s2rm score`: 100,000 predictions of COCO's image size, given as run lengths.

    python benchmarks/score.py --json [--expressions 100000]

The table is made up, ten expressions per image, with three annotated objects on each image; a prediction is
the mask of another expression, so that every kind of error occurs. The command runs as a user runs it; the
memory is that of its largest process.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
from growth import HEIGHT, NAME, WIDTH, write_table
from timing import build_parser, describe_machine, print_result

from s2rm.core.errors import exit_on_user_error
from s2rm.data.table import OBJECT_SCHEMA

SPLIT, OBJECTS = "val", 3  # objects on an image


def write_objects(prepared: Path, table: pd.DataFrame) -> None:
    """Write the annotated objects: the first referents of each image."""
    objects = table.groupby("image_id").head(OBJECTS)[OBJECT_SCHEMA.names]
    written = pa.Table.from_pandas(objects, OBJECT_SCHEMA, preserve_index=False)
    pa.parquet.write_table(written, prepared / f"{NAME}-objects.parquet")


def write_predictions(path: Path, table: pd.DataFrame) -> None:
    """Predict for each expression the mask of the next one."""
    shifted = table["mask_rle"].iloc[[*range(1, len(table)), 0]]
    with path.open("w") as file:
        for sent_id, counts in zip(table["sent_id"], shifted, strict=True):
            mask = {"size": [HEIGHT, WIDTH], "counts": counts}
            file.write(json.dumps({"sent_id": sent_id, "segmentation": mask, "score": 0.9}) + "\n")


def main() -> None:
    """Print seconds and the peak memory of the largest process."""
    parser = build_parser(__doc__)
    parser.add_argument("--expressions", type=int, default=100_000, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder)
        write_table(prepared / f"{NAME}.parquet", {SPLIT: arguments.expressions})
        table = pd.read_parquet(prepared / f"{NAME}.parquet")
        write_objects(prepared, table)
        write_predictions(prepared / "predictions.jsonl", table)
        command = [sys.executable, "-m", "s2rm.cli", "score", str(prepared / "predictions.jsonl")]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--benchmark", NAME, "--split", SPLIT, "--prepared", folder, "--json"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        result = {
            "expressions": arguments.expressions,
            "seconds": round(time.perf_counter() - started, 1),
            "peak_GB": round(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e9, 2),
            "machine": describe_machine(),
        }
    print_result(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
