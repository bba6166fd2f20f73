"""Time and memory of preparing RefCOCO at its full size, of opening its table and of checking its images.

    python benchmarks/prepare.py --repeats 3 --json

The data are generated (`full_refcoco`): this takes a minute, 250 MB in the temporary directory, and 270 MB
more for photographs; with `--folder` they are kept for the next time. Preparing runs in separate processes,
whose imports count (Linux only). Its image files have one colour, because it reads all of a file but examines
only the header and the end. What reading files of a photograph's size costs is measured on a tenth of the
images.
"""

import os
import statistics
import tempfile
from functools import cache
from pathlib import Path

from full_refcoco import BENCHMARK, make_photograph, prepare_apart, write_refcoco
from timing import build_parser, describe_machine, print_result, time_interleaved

from s2rm.core.errors import exit_on_user_error
from s2rm.data.image_zip import ImageFiles
from s2rm.data.table import load_table
from s2rm.refer.check_images import keep_readable
from s2rm.refer.issues import Issues
from s2rm.refer.referents import load_instances, load_refs, read_instances, read_referents

TENTH = 0.1
PHOTOGRAPHS = 8  # different ones per size, which the files repeat


def locate_zip(raw: Path) -> Path:
    """Return the path of the zip of images under a raw data root."""
    return (raw / BENCHMARK.images).with_suffix(".zip")


@cache
def _photograph(number: int, width: int, height: int) -> bytes:
    return make_photograph(number, width, height)


def make_data(root: Path, scale: float) -> None:
    """Write the data with flat images, and a tenth of them with photographs, unless they exist already.

    Args:
        root: folder of both.
        scale: 1 for RefCOCO's size.
    """
    if not locate_zip(root / "full").exists():  # written last
        write_refcoco(root / "full", scale=scale)
    if not locate_zip(root / "tenth").exists():
        write_refcoco(
            root / "tenth",
            scale=TENTH * scale,
            jpeg=lambda number, *size: _photograph(number % PHOTOGRAPHS, *size),
        )


def time_photographs(raw: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Time the check of the image files, read from the disk and from Linux's page cache."""
    folder, issues = raw / BENCHMARK.name, Issues()
    refs = load_refs(folder / f"refs({BENCHMARK.split_by}).p")
    instances = read_instances(load_instances(folder / "instances.json"), issues)
    referents = read_referents(refs, instances, BENCHMARK, "raw", issues)

    def check() -> None:
        assert len(keep_readable(referents, ImageFiles(raw), BENCHMARK.images, issues)) == len(referents)

    def check_from_disk() -> None:
        with locate_zip(raw).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        check()

    return time_interleaved(
        {"read a tenth's photographs, from disk": check_from_disk, "the same, from memory": check}, repeats
    )


def main() -> None:
    """Print times and peak memory."""
    parser = build_parser(__doc__)
    parser.add_argument("--folder", type=Path, help="where the data are kept (default: they are deleted)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of RefCOCO's size (default: 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        make_data(root, arguments.scale)
        runs: list[dict[str, float]] = []
        # Only data of the full size have the official counts.
        statistics_policy = "refuse" if arguments.scale == 1 else "warn"

        def prepare() -> None:
            runs.append(prepare_apart(root / "full", root / "prepared", statistics_policy))

        seconds = time_interleaved({"prepare": prepare}, arguments.repeats)
        table = root / "prepared" / f"{BENCHMARK.name}.parquet"
        seconds |= time_interleaved({"open the table": lambda: load_table(table)}, arguments.repeats)
        seconds |= time_photographs(root / "tenth", arguments.repeats)
        photographs = locate_zip(root / "tenth").stat().st_size
    result = {
        "scale": arguments.scale,
        "seconds": seconds,
        "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "photographs_bytes": photographs,
        "load": os.getloadavg(),
        "machine": describe_machine(),
    }
    print_result(result, arguments.json)
    if not arguments.json:
        print(f"peak memory: {result['peak_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    exit_on_user_error(main)
