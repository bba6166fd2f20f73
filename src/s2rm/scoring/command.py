"""`s2rm score`: score the predictions of any model, print the result, and keep the scores."""

import argparse
import json
from typing import Any

import numpy as np
import pandas as pd

from s2rm.config.benchmarks import name_benchmark
from s2rm.core.errors import UserError
from s2rm.core.files import load_json, replace
from s2rm.data.table import load_objects, load_table
from s2rm.scoring.analysis import Analysis, analyse, without_nan
from s2rm.scoring.errors import KINDS
from s2rm.scoring.intervals import Interval, Ratio, bootstrap
from s2rm.scoring.matching import NAMED, describe_unmatched, match
from s2rm.scoring.metrics import THRESHOLDS, compute_iou
from s2rm.scoring.predictions import read_predictions
from s2rm.scoring.protocols import Protocol, find_protocols
from s2rm.scoring.score import score
from s2rm.scoring.slices import FEWEST


def run(arguments: argparse.Namespace) -> None:
    """Score the predictions and print the result."""
    protocols = _protocols(arguments)
    table = load_table(arguments.prepared / f"{arguments.benchmark}.parquet")
    rows = table[table["split"] == arguments.split].reset_index(drop=True)
    if rows.empty:
        known = ", ".join(dict.fromkeys(table["split"]))
        raise UserError(f"--split is {arguments.split}: {arguments.benchmark} has {known}")
    matches = match(read_predictions(arguments.predictions), table, arguments.split)
    if matches.unmatched and arguments.unmatched == "refuse":
        raise UserError(
            f"{len(matches.unmatched)} predictions name no expression of {arguments.benchmark}: "
            f"{describe_unmatched(matches.unmatched)}; correct them, or leave them out with "
            "--unmatched ignore"
        )
    if matches.missing and arguments.missing == "refuse":
        first = [f"{rows['sent_id'][row]} ({rows['expression'][row]!r})" for row in matches.missing[:NAMED]]
        raise UserError(
            f"{len(matches.missing)} of {len(rows)} expressions have no prediction, such as sent_id "
            f"{', '.join(first)}: add them, or count them as IoU 0 with --missing zero"
        )
    scores = score(
        rows,
        matches,
        arguments.predictions.parent,
        side=protocols[0].side,
        threshold=protocols[0].threshold,
    )
    analysis = analyse(rows, scores, _load_objects(arguments))
    results = {each.name: measure(each, rows, scores) for each in protocols}
    counts = {
        "expressions": len(rows),
        "images": int(rows["image_path"].nunique()),
        "missing": len(matches.missing),
        "for other splits": matches.elsewhere,
        "unmatched": len(matches.unmatched),
    }
    if arguments.output is not None:
        _keep(arguments, scores, analysis, results)
    if arguments.json:
        print(json.dumps(without_nan(_as_json(arguments, counts, results, analysis)), indent=2))
        return
    print(
        f"{_title(arguments)} {arguments.split}: "
        + ", ".join(f"{count} {name}" for name, count in counts.items())
    )
    for each in protocols:
        _print_protocol(each, results[each.name])
    _print_analysis(analysis)


def measure(protocol: Protocol, rows: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Interval]:
    """Return metric → percent with its 95 % interval over images.

    Args:
        protocol: of the comparison.
        rows: the expressions, of the prepared table.
        scores: their scores, in the same order.
    """
    shared = scores[f"intersection_{protocol.size}"].to_numpy(float)
    union = scores[f"union_{protocol.size}"].to_numpy(float)
    iou, image, ones = compute_iou(shared, union), rows["image_path"].tolist(), np.ones(len(rows))
    found = {"oIoU": bootstrap([Ratio(100 * shared, union, image)])}
    found["mIoU"] = bootstrap([Ratio(100 * iou, ones, image)])
    for threshold in THRESHOLDS:
        right = iou > threshold if protocol.strict else iou >= threshold
        found[f"P_{threshold}"] = bootstrap([Ratio(100.0 * right, ones, image)])
    return found


def _protocols(arguments: argparse.Namespace) -> list[Protocol]:
    from dataclasses import replace as change

    given = {
        name: value
        for name, value in (("side", arguments.side), ("threshold", arguments.threshold))
        if value is not None
    }
    if not 0 < given.get("threshold", 0.5) < 1:
        raise UserError(f"--threshold is {arguments.threshold}: it must be between 0 and 1")
    if given.get("side", 1) < 1:
        raise UserError(f"--side is {arguments.side}: it must be positive")
    return [change(each, **given) for each in find_protocols(arguments.protocol)]


def _title(arguments: argparse.Namespace) -> str:
    """Name the data: drawn ones are never called by the name of the benchmark that they stand for."""
    path = arguments.prepared / f"{arguments.benchmark}.json"
    origin = load_json(path).get("origin", {}) if path.is_file() else {}
    return name_benchmark(arguments.benchmark, origin.get("source", "folder"))


def _load_objects(arguments: argparse.Namespace) -> pd.DataFrame | None:
    path = arguments.prepared / f"{arguments.benchmark}-objects.parquet"
    return load_objects(path) if path.is_file() else None


def _keep(
    arguments: argparse.Namespace,
    scores: pd.DataFrame,
    analysis: Analysis,
    results: dict[str, dict[str, Interval]],
) -> None:
    """Write <output>/<benchmark>-<split>.parquet, as an evaluation does, and the analysis beside it."""
    folder, name = arguments.output, f"{arguments.benchmark}-{arguments.split}"
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / f"{name}.parquet", lambda partial: scores.to_parquet(partial, index=False))
    metrics = {key: _plain(value) for key, value in results.items()}
    analysis.save(folder / f"{name}-analysis.json", metrics=metrics)


def _as_json(
    arguments: argparse.Namespace,
    counts: dict[str, int],
    results: dict[str, dict[str, Interval]],
    analysis: Analysis,
) -> dict[str, Any]:
    about = {"benchmark": arguments.benchmark, "split": arguments.split}
    metrics = {name: _plain(found) for name, found in results.items()}
    return {**about, "counts": counts, "metrics": metrics, **analysis.to_json()}


def _plain(found: dict[str, Interval]) -> dict[str, dict[str, float]]:
    return {name: {key: round(value, 4) for key, value in vars(each).items()} for name, each in found.items()}


def _print_protocol(protocol: Protocol, found: dict[str, Interval]) -> None:
    size = f"{protocol.side} × {protocol.side}" if protocol.size == "model" else "the image's own size"
    print(f"\nprotocol {protocol.name}: masks at {size} ({protocol.source})")
    names = protocol.names or {}
    for name, each in found.items():
        also = f" ({names[name]} there)" if name in names else ""
        print(f"  {name:<6}{each.value:7.2f}  [{each.low:.2f}, {each.high:.2f}]{also}")
    print("  intervals: 95 %, bootstrap over images; they do not cover other trainings")


def _print_analysis(analysis: Analysis) -> None:
    print("\npoints of mIoU lost to (own size; they add up to 100 − mIoU)")
    for kind, points in analysis.lost.items():
        print(f"  {points:6.2f}  {KINDS[str(kind)]} ({analysis.counts[str(kind)]} expressions)")
    if not analysis.has_objects:
        print("  without the table of objects, other objects cannot be told from background")
    print("\nmIoU by slice (own size)")
    for (group,), part in analysis.slices.groupby(["group"], sort=False):
        print(f"  {group}")
        columns = (part[name].tolist() for name in ("slice", "expressions", "mIoU", "low", "high"))
        for name, count, value, low, high in zip(*columns, strict=True):
            few = "  few" if count < FEWEST else ""
            print(f"    {value:6.2f} [{low:.1f}, {high:.1f}]  {name} ({count}){few}")
    about = analysis.consistency
    if about["referents"]:
        print(
            f"\nexpressions of one referent: IoUs {about['spread']:.1f} points apart on average; "
            f"{about['split']:.1f} % of {about['referents']:.0f} referents are found by some of them only"
        )
    if len(analysis.confident_errors):
        print(f"confident and wrong (score above 0.95, IoU below 0.1): {len(analysis.confident_errors)}")
