"""`s2rm score`: score the predictions of any model, print the result, and keep the scores."""

import argparse
import dataclasses
import json
import re
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from s2rm.config.benchmarks import ALL_BENCHMARKS, get_benchmark
from s2rm.core.errors import UserError
from s2rm.core.files import replace
from s2rm.core.project import require_writable
from s2rm.data.table import load_objects, load_table, name_data
from s2rm.scoring.analysis import Analysis, analyse, without_nan
from s2rm.scoring.intervals import Interval, Ratio, bootstrap_all
from s2rm.scoring.matching import NAMED, Matches, describe, describe_unmatched, match
from s2rm.scoring.metrics import THRESHOLDS, compute_iou, reach, segmentation_metrics
from s2rm.scoring.predictions import read_predictions
from s2rm.scoring.printing import describe_size, print_analysis, print_protocol
from s2rm.scoring.protocols import Protocol, find_protocols
from s2rm.scoring.score import are_recorded, score

LARGEST_SIDE = 8192  # pixels; a mask of this side has as many as the largest image that is read
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # line breaks, and what commands a terminal


def run(arguments: argparse.Namespace) -> None:
    """Score the predictions and print the result."""
    try:
        _run(arguments)
    except UserError as error:  # names in it come from untrusted files: the message stays one line
        raise UserError(_on_one_line(str(error))) from None
    except RecursionError:
        raise UserError(f"{arguments.predictions} has lists or objects that are nested too deeply") from None


def _run(arguments: argparse.Namespace) -> None:
    _check_benchmark(arguments.benchmark)
    protocols = _protocols(arguments)
    _check_output(arguments)
    rows, matches = _match(arguments)
    recorded = arguments.side is None and protocols[0].name == "model" and are_recorded(matches)
    scores = score(
        rows,
        matches,
        arguments.predictions.parent,
        side=protocols[0].side,
        threshold=protocols[0].threshold,
        recorded=recorded,
    )
    analysis = analyse(rows, scores, _load_objects(arguments))
    results = {each.name: measure(each, rows, scores) for each in protocols}
    about: dict[str, Any] = {
        "counts": _count(rows, matches),
        "masks": {each.name: describe_size(each, recorded=recorded) for each in protocols},
        "metrics": {
            name: {metric: each.to_json() for metric, each in found.items()}
            for name, found in results.items()
        },
        "unmatched": [{"record": each.place, "names": describe(each)} for each in matches.unmatched],
    }
    if arguments.output is not None:
        _keep(arguments, scores, analysis, about)
    if arguments.json:
        data = {"benchmark": arguments.benchmark, "split": arguments.split}
        print(json.dumps(without_nan({**data, **about, **analysis.to_json()}), indent=2))
        return
    counts = ", ".join(f"{count} {name}" for name, count in about["counts"].items())
    print(f"{name_data(arguments.prepared, arguments.benchmark)} {arguments.split}: {counts}")
    if matches.unmatched:
        named = describe_unmatched(matches.unmatched)
        print(_on_one_line(f"left out, since they name no expression of {arguments.benchmark}: {named}"))
    for each in protocols:
        print_protocol(each, about["masks"][each.name], results[each.name])
    print_analysis(analysis)


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
    right = [reach(iou, threshold, protocol.strict) for threshold in THRESHOLDS]
    ratios = [Ratio(100 * shared, union, image)]
    ratios += [Ratio(100 * values, ones, image) for values in (iou, *right)]
    intervals = bootstrap_all([[ratio] for ratio in ratios])
    values = segmentation_metrics(shared, union, strict=protocol.strict)  # the numbers of an evaluation
    return {
        name: Interval(value, each.low, each.high)
        for (name, value), each in zip(values.items(), intervals, strict=True)
    }


def _on_one_line(text: str) -> str:
    """Return a text with its control characters written as escapes."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _check_benchmark(name: str) -> None:
    try:
        get_benchmark(name)
    except UserError as error:
        near = get_close_matches(name, ALL_BENCHMARKS, n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"--benchmark: {error}{hint}") from None


def _check_output(arguments: argparse.Namespace) -> None:
    """Check that the scores can be kept, before the work, and that they do not replace an evaluation."""
    output = arguments.output
    if output is None:
        return
    require_writable(output)
    if output.resolve() in arguments.predictions.resolve().parents:
        raise UserError(
            f"--output {output} contains the predictions {arguments.predictions}: scores could replace them; "
            "name another folder"
        )


def _match(arguments: argparse.Namespace) -> tuple[pd.DataFrame, Matches]:
    """Return the expressions of the split and their predictions; refuse what would be left out silently."""
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
    return rows, matches


def _count(rows: pd.DataFrame, matches: Matches) -> dict[str, int]:
    return {
        "expressions": len(rows),
        "images": int(rows["image_path"].nunique()),
        "missing": len(matches.missing),
        "duplicates": matches.duplicates,
        "for other splits": matches.elsewhere,
        "unmatched": len(matches.unmatched),
    }


def _protocols(arguments: argparse.Namespace) -> list[Protocol]:
    given = {
        name: value
        for name, value in (("side", arguments.side), ("threshold", arguments.threshold))
        if value is not None
    }
    if not 0 < given.get("threshold", 0.5) < 1:
        raise UserError(f"--threshold is {arguments.threshold}: it must be between 0 and 1")
    if not 1 <= given.get("side", 1) <= LARGEST_SIDE:
        raise UserError(f"--side is {arguments.side}: it must be between 1 and {LARGEST_SIDE}")
    return [dataclasses.replace(each, **given) for each in find_protocols(arguments.protocol)]


def _load_objects(arguments: argparse.Namespace) -> pd.DataFrame | None:
    path = arguments.prepared / f"{arguments.benchmark}-objects.parquet"
    return load_objects(path) if path.is_file() else None


def _keep(
    arguments: argparse.Namespace, scores: pd.DataFrame, analysis: Analysis, about: dict[str, Any]
) -> None:
    """Write <output>/<benchmark>-<split>.parquet, as an evaluation does, and the analysis beside it."""
    folder, name = arguments.output, f"{arguments.benchmark}-{arguments.split}"
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / f"{name}.parquet", lambda partial: scores.to_parquet(partial, index=False))
    analysis.save(folder / f"{name}-analysis.json", **about)
