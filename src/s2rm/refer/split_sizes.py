"""The official sizes of the benchmarks' splits (split_sizes.csv), and comparing prepared data with them.

Each row is one split by one route: `refer` = refs(…).p and instances.json, `queries` = ReferIt's original
query lists, a few of which its refs lack. An empty number is one that no source gives. `certain` lists the
columns whose numbers a source states, or that were counted in the official files; the others are derived by
us, and are never a reason to refuse data. `source` names repository@commit.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from s2rm.core.errors import UserError
from s2rm.refer.issues import HARMLESS

WHAT = ("images", "refs", "expressions")
UNCERTAIN = " (uncertain)"  # ends a line about such a number

# Issues that change no count. `split_not_used` may change one: a misnamed split is missing from its own.
COUNTS_STAND = HARMLESS - {"split_not_used"} | {
    "category_unknown",
    "category_conflict",
    "malformed_category",
    "duplicate_category",
    "conflicting_category",
    "box_unknown",
    "polygon_points",
    "polygon_clipped",
    "polygon_outside",
}


@dataclass(frozen=True)
class Official:
    """A row of split_sizes.csv."""

    benchmark: str
    route: str
    split: str
    numbers: Mapping[str, int]  # the known ones of WHAT
    certain: frozenset[str]  # some of WHAT
    source: str


@dataclass(frozen=True)
class Count:
    """An official number beside the number that was found."""

    split: str
    what: str  # one of WHAT
    expected: int
    found: int
    certain: bool

    @property
    def differs(self) -> bool:
        """Whether the number found is not the official one."""
        return self.found != self.expected


def load_official() -> list[Official]:
    """Return the rows of split_sizes.csv, in the order of the file."""
    text = files("s2rm.refer").joinpath("split_sizes.csv").read_text(encoding="utf-8")
    return [
        Official(
            row["benchmark"],
            row["route"],
            row["split"],
            {what: int(row[what]) for what in WHAT if row[what]},
            frozenset(row["certain"].split()),
            row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    ]


def compare(benchmark: str, route: str, counts: Mapping[str, Mapping[str, int | float]]) -> list[Count]:
    """Return all official numbers of a benchmark by one route, each beside the number found.

    Args:
        benchmark: its name.
        route: `refer` or `queries`.
        counts: split → images, refs, expressions, and possibly more; a missing split counts 0.

    Returns:
        The numbers in the file's order; none where split_sizes.csv lacks the benchmark or the route.
    """
    return [
        Count(row.split, what, expected, int(counts.get(row.split, {}).get(what, 0)), what in row.certain)
        for row in load_official()
        if (row.benchmark, row.route) == (benchmark, route)
        for what, expected in row.numbers.items()
    ]


def check_official(
    benchmark: str,
    route: str,
    counts: Mapping[str, Mapping[str, int | float]],
    *,
    refuse: bool,
    issues: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Return one line per official number that differs from the one found, for the log and the statistics.

    Args:
        benchmark: its name.
        route: `refer` or `queries`.
        counts: as for `compare`.
        refuse: whether a certain number that differs ends the stage; an uncertain one never does.
        issues: `Issues.report()`, to say what may explain the difference.

    Raises:
        UserError: with `refuse`, a certain number differs. The message continues below its first line with a
            table of all the numbers.
    """
    compared = compare(benchmark, route, counts)
    missed = [count for count in compared if count.differs]
    if refuse and any(count.certain for count in missed):
        raise UserError(_explain(benchmark, compared, issues))
    return [
        f"{benchmark} {count.split}: {count.found:,} {count.what}, officially {count.expected:,}"
        + ("" if count.certain else UNCERTAIN)
        for count in missed
    ]


def find_incomplete(prepared: Path, benchmarks: Iterable[str]) -> set[str]:
    """Return the benchmarks whose prepared data is only a part: a certain official number differs.

    Args:
        prepared: the folder of `<benchmark>.json`.
        benchmarks: the names to look for.
    """
    incomplete = set()
    for benchmark in benchmarks:
        statistics = json.loads((prepared / f"{benchmark}.json").read_text(encoding="utf-8"))
        if any(not line.endswith(UNCERTAIN) for line in statistics["official"]):
            incomplete.add(benchmark)
    return incomplete


def _explain(benchmark: str, compared: Sequence[Count], issues: Mapping[str, Mapping[str, Any]]) -> str:
    suspects = [
        f"{issue['count']:,} × {kind} (first: {issue['first']})"
        for kind, issue in issues.items()
        if kind not in COUNTS_STAND
    ]
    missed = sum(count.differs for count in compared)
    return "\n".join(
        [
            f"{benchmark}: {missed} of {len(compared)} numbers are not the official ones (* below)",
            f"  {'split':7}{'what':13}{'official':>9}{'found':>9}",
            *(_line(count) for count in compared),
            f"issues that may explain it: {'; '.join(suspects)}"
            if suspects
            else "no issue explains it: these may not be the official files",
            "complete or repair the data, or set preprocess.statistics=warn to use it as it is",
        ]
    )


def _line(count: Count) -> str:
    line = (
        f"{'*' if count.differs else ' '} {count.split:7}{count.what:13}{count.expected:9,}{count.found:9,}"
    )
    if count.differs:
        line += f"  {count.found - count.expected:+,}"
    return line if count.certain else f"{line} {UNCERTAIN}"
