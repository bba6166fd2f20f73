"""What the benchmarks share: common options, medians with their spread, the machine, printing a result."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

LIBRARIES = ("torch", "torchvision", "timm", "transformers", "numpy")


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds (default: 7)")
    parser.add_argument("--params", default="params.yaml", help="parameter file (default: params.yaml)")
    return parser


def time_interleaved(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Return the seconds that each work takes, as `summarise` gives them.

    Every round runs each work once, because the noise of a shared machine comes in phases: a phase then
    affects all works alike. A round that is not timed comes first, as a warm-up.

    Args:
        works: name → what is timed.
        repeats: timed rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: summarise(values) for name, values in seconds.items()}


def summarise(seconds: Iterable[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    values = list(seconds)
    return {"median_s": statistics.median(values), "min_s": min(values), "max_s": max(values)}


def describe_machine() -> dict[str, Any]:
    """Return the hardware, and the versions that speed depends on."""
    from s2rm.core.environment import describe_environment  # with torch, which would count as memory

    found = describe_environment()
    return {
        **{key: found[key] for key in ("processor", "cores", "threads")},
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": found["python"],
        **{name: found["libraries"][name] for name in LIBRARIES},
    }


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """Print a result: all of it as one JSON object, or its times and ratios for people."""
    if as_json:
        print(json.dumps(result, indent=2))
        return
    if not isinstance(result["seconds"], dict):  # a single measurement
        for name, value in result.items():
            if name != "machine":
                print(f"{name:<16}{value:>12}")
        return
    ratios, left_out = result.get("ratios", {}), result.get("left_out", {})
    width = 2 + max(map(len, [*result["seconds"], *ratios, *left_out]))
    for name, values in result["seconds"].items():
        median, low, high = (1000 * values[key] for key in ("median_s", "min_s", "max_s"))
        print(f"{name:<{width}}{median:10.1f} ms  ({low:.1f} … {high:.1f})")
    for name, value in ratios.items():
        print(f"{name:<{width}}{value:10.2f}")
    for name, reason in left_out.items():
        print(f"{name:<{width}}left out: {reason}")
