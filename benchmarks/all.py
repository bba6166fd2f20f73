"""Every benchmark in turn, each a process of its own: `make bench`.

    python benchmarks/all.py [NAME ...]

The result of each goes to reports/benchmarks/NAME.json, and a table of all that lie there into
docs/performance.md. About half an hour on two cores; leave the machine alone meanwhile.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from s2rm.core.errors import UserError, exit_on_user_error

HERE = Path(__file__).parent
RESULTS = HERE.parent / "reports" / "benchmarks"
PAGE = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- begin: python benchmarks/all.py -->", "<!-- end -->"
PAPER = ("--params", "presets/paper.yaml")
RUNS: dict[str, tuple[str, ...]] = {  # name → script and arguments
    "sweep": ("sweep.py", *PAPER, "--repeats", "15"),
    "evaluate": ("evaluate.py", *PAPER, "--repeats", "5"),
    "train": ("train.py", *PAPER, "--repeats", "5"),
    "train-demo": ("train.py", "--repeats", "15"),
    "step": ("step.py", "--repeats", "3"),
    "overhead": ("overhead.py", "--repeats", "5"),
    "loader": ("loader.py", *PAPER, "--repeats", "3"),
    "prepare": ("prepare.py", "--repeats", "3"),
    "status": ("status.py", "--repeats", "3"),
}


def run(name: str) -> None:
    script, *arguments = RUNS[name]
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments, "--json"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result = {"command": " ".join(["python", f"benchmarks/{script}", *arguments]), **json.loads(done.stdout)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def render(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: a table a benchmark, its command above it."""
    lines = []
    for result in results.values():
        lines += [f"`{result['command']}`", "", "| what | median | min … max |", "|---|---:|---:|"]
        for what, values in result["seconds"].items():
            median, low, high = (_time(values[key]) for key in ("median_s", "min_s", "max_s"))
            lines.append(f"| {what} | {median} | {low} … {high} |")
        lines += [f"| **{what}** | **{value:.2f}** | |" for what, value in result.get("ratios", {}).items()]
        lines += [f"| {what} | left out: {why} | |" for what, why in result.get("left_out", {}).items()]
        lines.append("")
    machine = next(iter(results.values()))["machine"]
    lines.append("Machine: " + ", ".join(f"{key} {value}" for key, value in machine.items()) + ".")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; default: all")
    names = command.parse_args().names or list(RUNS)
    unknown = sorted(set(names) - set(RUNS))
    if unknown:
        raise UserError(f"unknown benchmark {unknown[0]}: known are {', '.join(RUNS)}")
    for number, name in enumerate(names, start=1):
        print(f"{number}/{len(names)} {name}", flush=True)
        run(name)
    kept = {name: RESULTS / f"{name}.json" for name in RUNS}
    results = {name: json.loads(path.read_text()) for name, path in kept.items() if path.exists()}
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{render(results)}\n\n{END}{after}", encoding="utf-8")
    print(f"{RESULTS} and {PAGE} are written")


if __name__ == "__main__":
    exit_on_user_error(main)
