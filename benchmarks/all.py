"""Run every benchmark, each in a process of its own: `make bench`.

    python benchmarks/all.py [NAME ...]

Each result is written to reports/benchmarks/NAME.json. A report with all results of the same day and machine
is written to benchmarks/results/<YYYY-MM-DD>.md. This takes about half an hour on two cores; leave the
machine alone meanwhile, or the figures are worthless.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from s2rm.core.errors import UserError, exit_on_user_error
from s2rm.core.files import replace_text

HERE = Path(__file__).parent
RESULTS = HERE.parent / "reports" / "benchmarks"
REPORTS = HERE / "results"
PAPER = ("--params", "presets/paper.yaml")
RUNS: dict[str, tuple[str, ...]] = {  # name → script and arguments
    "sweep": ("sweep.py", *PAPER, "--repeats", "15"),
    "evaluate": ("evaluate.py", *PAPER, "--repeats", "5"),
    "train": ("train.py", *PAPER, "--repeats", "5"),
    "train-demo": ("train.py", "--repeats", "15"),
    "step": ("step.py", "--repeats", "3"),
    "busy": ("busy.py", "--repeats", "3"),
    "overhead": ("overhead.py", "--repeats", "5"),
    "loader": ("loader.py", *PAPER, "--repeats", "3"),
    "prepare": ("prepare.py", "--repeats", "3"),
    "status": ("status.py", "--repeats", "3"),
    "tracking": ("tracking.py", "--repeats", "7"),
}
HARDWARE = ("processor", "cores", "memory_gib")

Result = dict[str, Any]  # what a benchmark prints as JSON, its command and its date


def run(name: str) -> Result:
    """Run one benchmark from the project's root.

    Raises:
        UserError: it failed; its own message is above.
    """
    script, *arguments = RUNS[name]
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments, "--json"],
        cwd=HERE.parent,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise UserError(f"benchmarks/{script} failed with exit code {done.returncode}")
    return {
        "command": " ".join(["python", f"benchmarks/{script}", *arguments]),
        "date": date.today().isoformat(),
        **json.loads(done.stdout),
    }


def select_alike(results: Mapping[str, Result], latest: str) -> dict[str, Result]:
    """Return the results that have the date, hardware and versions of one of them, in their order.

    Args:
        results: name → result; those of earlier versions may lack a date.
        latest: name of the result that the others must resemble.
    """

    def key(result: Result) -> tuple[object, dict[str, object]]:
        # A benchmark may set its number of threads itself.
        return result.get("date"), {k: v for k, v in result["machine"].items() if k != "threads"}

    return {name: result for name, result in results.items() if key(result) == key(results[latest])}


def render(results: Mapping[str, Result]) -> str:
    """Return the report as Markdown: date, hardware and versions, then one table per benchmark.

    Args:
        results: name → result, one at least, all of one date and one machine.
    """
    first = next(iter(results.values()))
    machine = first["machine"]
    hardware = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB of memory"
    versions = ", ".join(
        f"{key} {value}" for key, value in machine.items() if key not in (*HARDWARE, "threads")
    )
    lines = [
        f"# Benchmarks of {first['date']}",
        "",
        "`make bench` writes this report. The works of one benchmark take turns, so compare times within a",
        "table rather than between tables.",
        "",
        "| | |",
        "|---|---|",
        f"| date | {first['date']} |",
        f"| hardware | {hardware} |",
        f"| versions | {versions} |",
    ]
    for name, result in results.items():
        lines += ["", f"## {name}", "", f"`{result['command']}` ({_count_threads(result)})", ""]
        lines += ["| what | median | minimum … maximum |", "|---|---:|---:|"]
        for what, values in result["seconds"].items():
            median, low, high = (_format_time(values[key]) for key in ("median_s", "min_s", "max_s"))
            lines.append(f"| {what} | {median} | {low} … {high} |")
        lines += [f"| **{what}** | **{value:.2f}** | |" for what, value in result.get("ratios", {}).items()]
        lines += [f"| {what} | left out: {why} | |" for what, why in result.get("left_out", {}).items()]
    return "\n".join(lines) + "\n"


def _count_threads(result: Result) -> str:
    threads = result["machine"]["threads"]
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _format_time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def main() -> None:
    """Run the named benchmarks, or all, and write their report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(RUNS)}; default: all")
    names = parser.parse_args().names or list(RUNS)
    unknown = sorted(set(names) - set(RUNS))
    if unknown:
        raise UserError(f"unknown benchmark {unknown[0]}: known are {', '.join(RUNS)}")
    for number, name in enumerate(names, start=1):
        print(f"{number}/{len(names)} {name}", flush=True)
        replace_text(RESULTS / f"{name}.json", json.dumps(run(name), indent=2) + "\n")
    files = {name: RESULTS / f"{name}.json" for name in RUNS}
    results = {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}
    results = select_alike(results, latest=names[-1])
    report = replace_text(REPORTS / f"{results[names[-1]]['date']}.md", render(results))
    print(f"{RESULTS} and {report} are written")


if __name__ == "__main__":
    exit_on_user_error(main)
