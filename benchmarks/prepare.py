"""Time and memory of preparing RefCOCO at its full size, of opening its table, and of reading its images.

    python benchmarks/prepare.py --repeats 3 --json

The data are made up (`full_refcoco`); they take a minute to make and 250 MB under the temporary directory,
and the photographs 270 MB more, or stay in `--folder` for the next time. Preparing runs in processes of its
own, imports included (Linux). Its image files are of one colour: it reads all of a file, but looks at the
header and the end alone. What files of a photograph's size cost more is measured on every tenth image.
"""

import os
import statistics
import tempfile
from functools import cache
from pathlib import Path

from full_refcoco import BENCHMARK, photo, prepare_apart, write_refcoco
from timing import machine, parser, show, time_interleaved

from s2rm.core.errors import exit_on_user_error
from s2rm.data.image_zip import ImageFiles
from s2rm.data.table import load_table
from s2rm.refer.check_images import keep_readable
from s2rm.refer.issues import Issues
from s2rm.refer.referents import load_instances, load_refs, read_instances, read_referents

TENTH = 0.1
PHOTOS = 8  # of a size, that all files repeat


def pack_of(raw: Path) -> Path:
    return (raw / BENCHMARK.images).with_suffix(".zip")


@cache
def _photo(number: int, width: int, height: int) -> bytes:
    return photo(number, width, height)


def make(root: Path) -> None:
    """The full data and a tenth with photographs, where they are not there yet."""
    if not pack_of(root / "full").exists():  # written last
        write_refcoco(root / "full")
    if not pack_of(root / "tenth").exists():
        write_refcoco(root / "tenth", scale=TENTH, jpeg=lambda number, *size: _photo(number % PHOTOS, *size))


def time_photographs(raw: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Checking the image files, from the disk and from the memory that Linux keeps of it."""
    folder, faults = raw / BENCHMARK.name, Issues()
    refs = load_refs(folder / f"refs({BENCHMARK.split_by}).p")
    instances = read_instances(load_instances(folder / "instances.json"), faults)
    referents = read_referents(refs, instances, BENCHMARK, "raw", faults)

    def check() -> None:
        assert len(keep_readable(referents, ImageFiles(raw), BENCHMARK.images, faults)) == len(referents)

    def check_from_disk() -> None:
        with pack_of(raw).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        check()

    return time_interleaved(
        {"read a tenth's photographs, from disk": check_from_disk, "the same, from memory": check}, repeats
    )


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--folder", type=Path, help="where the data are kept (default: nowhere)")
    arguments = command.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        make(root)
        runs: list[dict[str, float]] = []

        def prepare() -> None:
            runs.append(prepare_apart(root / "full", root / "prepared"))

        seconds = time_interleaved({"prepare": prepare}, arguments.repeats)
        table = root / "prepared" / f"{BENCHMARK.name}.parquet"
        seconds |= time_interleaved({"open the table": lambda: load_table(table)}, arguments.repeats)
        seconds |= time_photographs(root / "tenth", arguments.repeats)
        photographs = pack_of(root / "tenth").stat().st_size
    result = {
        "seconds": seconds,
        "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "photographs_bytes": photographs,
        "load": os.getloadavg(),
        "machine": machine(),
    }
    show(result, arguments.json)
    if not arguments.json:
        print(f"{'peak memory':<36}{result['peak_bytes'] / 1e6:10.0f} MB")


if __name__ == "__main__":
    exit_on_user_error(main)
