"""Prints the result of `s2rm score` for people."""

import numpy as np

from s2rm.scoring.analysis import Analysis
from s2rm.scoring.calibration import expected_error
from s2rm.scoring.error_kinds import KINDS
from s2rm.scoring.intervals import Interval
from s2rm.scoring.protocols import Protocol
from s2rm.scoring.slices import CONFIDENT_IOU, CONFIDENT_SCORE, FEWEST


def describe_size(protocol: Protocol, *, recorded: bool) -> str:
    """Say at which size masks are compared.

    Args:
        protocol: of the comparison.
        recorded: whether the numbers at the model's size are those that an evaluation recorded.
    """
    if protocol.size == "original":
        return "the image's own size"
    if recorded:
        return "the model's own size, with the numbers that its evaluation recorded"
    return f"{protocol.side} × {protocol.side}"


def print_protocol(protocol: Protocol, size: str, found: dict[str, Interval]) -> None:
    """Print the metrics by one protocol, with the size of its masks."""
    print(f"\nprotocol {protocol.name}: masks at {size} ({protocol.source})")
    names = protocol.names or {}
    for name, each in found.items():
        also = f" ({names[name]} there)" if name in names else ""
        print(f"  {name:<6}{each.value:7.2f}  {_show_interval(each.low, each.high, 2)}{also}")
    print("  intervals: 95 %, bootstrap over images; they do not cover other trainings")


def _show_interval(low: float, high: float, digits: int) -> str:
    return "[no interval]" if np.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"


def print_analysis(analysis: Analysis) -> None:
    """Print the kinds of errors, the slices, the consistency and the calibration."""
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
            print(f"    {value:6.2f} {_show_interval(low, high, 1)}  {name} ({count}){few}")
    about = analysis.consistency
    if about["referents"]:
        print(
            f"\nexpressions of one referent: IoUs {about['spread']:.1f} points apart on average; "
            f"{about['split']:.1f} % of {about['referents']:.0f} referents are found by some of them only"
        )
    if not (bins := analysis.calibration).empty:
        print(
            f"the score as an estimate of IoU: {expected_error(bins):.1f} points off on average (ECE, "
            f"{len(bins)} bins, {bins['expressions'].sum()} expressions with a score)"
        )
    if len(analysis.confident_errors):
        print(
            f"confident and wrong (score above {CONFIDENT_SCORE}, IoU below {CONFIDENT_IOU}): "
            f"{len(analysis.confident_errors)}"
        )
