"""The official sizes of the benchmarks' splits, in split_sizes.csv, and a comparison with what was prepared.

A row is a split, by the route that its data took: `refer` = refs(…).p and instances.json, `queries` =
ReferIt's original query lists, of which its refs lack a few. An empty number is one that no source gives.
`certain` lists the columns whose numbers a source states, or that were counted in the very files; the
others are derived by us, and never a reason to refuse data. `source` names repository@commit.
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
UNCERTAIN = " (uncertain)"  # at the end of a line on such a number

# Issues that change no count. `split_not_used` may well: what is in no split of ours is missing in one.
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
    numbers: Mapping[str, int]  # of WHAT, those that are known
    certain: frozenset[str]  # of WHAT
    source: str


@dataclass(frozen=True)
class Count:
    """An official number beside what was found."""

    split: str
    what: str  # of WHAT
    expected: int
    found: int
    certain: bool

    @property
    def differs(self) -> bool:
        return self.found != self.expected


def load_official() -> list[Official]:
    """The rows of split_sizes.csv, in the order of the file."""
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
    """All official numbers of the benchmark by that route, in the file's order, beside what was found.

    `counts` has split → images, refs, expressions, and may have more; a split that is absent counts 0.
    Nothing where split_sizes.csv knows no such benchmark or route.
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
    """A line for every official number that was not found, for the log and the statistics.

    Args:
        counts: as for `compare`.
        refuse: a certain number that was not found is a `UserError`; an uncertain one never is.
        issues: `Issues.report()`, to say what may account for it.

    The message of the `UserError` goes on below its first line, with a table of all the numbers.
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
    """The benchmarks of `<prepared>/<benchmark>.json` that lack certain official numbers: parts of them."""
    incomplete = set()
    for benchmark in benchmarks:
        statistics = json.loads((prepared / f"{benchmark}.json").read_text(encoding="utf-8"))
        if any(not line.endswith(UNCERTAIN) for line in statistics["official"]):
            incomplete.add(benchmark)
    return incomplete


def _explain(benchmark: str, compared: Sequence[Count], issues: Mapping[str, Mapping[str, Any]]) -> str:
    suspects = [f"{kind} {issue['count']:,}" for kind, issue in issues.items() if kind not in COUNTS_STAND]
    missed = sum(count.differs for count in compared)
    return "\n".join(
        [
            f"{benchmark}: {missed} of {len(compared)} numbers are not the official ones (* below)",
            f"  {'split':7}{'what':13}{'official':>9}{'found':>9}",
            *(_line(count) for count in compared),
            f"issues that may account for it: {', '.join(suspects)}"
            if suspects
            else "no issue was found that may account for it: these may not be the official files",
            "complete or mend the data, or set preprocess.statistics=warn to go on with what there is",
        ]
    )


def _line(count: Count) -> str:
    line = (
        f"{'*' if count.differs else ' '} {count.split:7}{count.what:13}{count.expected:9,}{count.found:9,}"
    )
    if count.differs:
        line += f"  {count.found - count.expected:+,}"
    return line if count.certain else f"{line} {UNCERTAIN}"
