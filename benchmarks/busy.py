"""A training step beside another busy process: what binding the threads to cores is worth.

    python benchmarks/busy.py --repeats 3 --json

Four variants take turns: idle and beside one process that computes without a pause, with threads bound as
the stages bind them and as OpenMP leaves them. Each is timed in a process of its own, by step.py.
Run it on a machine that is idle otherwise.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from step import EVERYTHING
from timing import build_parser, describe_machine, print_result, summarise

from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import ARRANGED

STEP = Path(__file__).with_name("step.py")
REFERENCE = "idle, not bound"
START = """
import runpy, sys
from pathlib import Path
from s2rm.core import process
process.NVIDIA = Path("/nothing")
process.bind_threads()
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@contextmanager
def other_process(busy: bool) -> Iterator[None]:
    """Keep one core busy within this context."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def time_step(path: str, *, bound: bool, busy: bool) -> float:
    """Return the median seconds of a step."""
    environment = {name: value for name, value in os.environ.items() if name not in ARRANGED}
    if not bound:
        environment["OMP_PROC_BIND"] = "false"  # then bind_threads does nothing
    command = [sys.executable, "-c", START, str(STEP), "--params", path, "--without", EVERYTHING]
    with other_process(busy):
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Print the step's time in each variant, relative to an idle machine without binding."""
    arguments = build_parser(__doc__).parse_args()
    works = {
        f"{'busy' if busy else 'idle'}, {'bound' if bound else 'not bound'}": partial(
            time_step, arguments.params, bound=bound, busy=busy
        )
        for busy in (False, True)
        for bound in (False, True)
    }
    medians: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(arguments.repeats):
        for name, work in works.items():
            medians[name].append(work())
    seconds = {name: summarise(values) for name, values in medians.items()}
    ratios = {
        f"{name} / {REFERENCE}": values["median_s"] / seconds[REFERENCE]["median_s"]
        for name, values in seconds.items()
        if name != REFERENCE
    }
    machine = describe_machine()
    print_result(
        {"params": arguments.params, "seconds": seconds, "ratios": ratios, "machine": machine}, arguments.json
    )


if __name__ == "__main__":
    exit_on_user_error(main)
