"""The templates of the pages, and how numbers are written in them."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined

from s2rm.reporting.scored import write_span


def environment(*more: BaseLoader) -> Environment:
    """Return the environment of the templates here, and of `more`; what they show is escaped."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader("s2rm.reporting.pages", "templates"), *more]),
        autoescape=lambda name: name is None or ".html" in name,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    made.filters |= {"span": write_span, "span_of": _span_of, "number": write_number, "groupby_kept": _group}
    return made


def write_number(value: float | None, decimals: int) -> str:
    """Write a number; "–" where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _span_of(row: Mapping[str, Any]) -> str:
    low, high = row["low"], row["high"]
    return "" if low is None else f"[{low:.1f}, {high:.1f}]"


def _group(rows: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Group rows that follow each other, in their order."""
    return [{"group": key, "rows": list(part)} for key, part in groupby(rows, key=lambda row: row[name])]
