"""What the benchmarks share: medians with their spread, the machine, and how results are printed."""

import argparse
import json
import statistics
import time
from collections.abc import Callable

from s2rm.core.environment import describe_environment


def parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds (default: 7)")
    parser.add_argument("--params", default="params.yaml", help="default: params.yaml")
    return parser


def time_interleaved(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of each work: median, minimum and maximum.

    The works take turns, as the noise of a shared machine comes in spells.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {
        name: {"median_s": statistics.median(values), "min_s": min(values), "max_s": max(values)}
        for name, values in seconds.items()
    }


def machine() -> dict[str, object]:
    found = describe_environment()
    libraries = ("torch", "torchvision", "timm", "transformers", "numpy")
    return {
        **{key: found[key] for key in ("processor", "cores", "threads", "python")},
        **{name: found["libraries"][name] for name in libraries},
    }


def show(result: dict[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2))
        return
    for name, values in result["seconds"].items():  # type: ignore[attr-defined]
        print(
            f"{name:<36}{1000 * values['median_s']:10.1f} ms  ({1000 * values['min_s']:.1f} … "
            f"{1000 * values['max_s']:.1f})"
        )
    for name, value in result.get("ratios", {}).items():  # type: ignore[attr-defined]
        print(f"{name:<36}{value:10.2f} ×")
