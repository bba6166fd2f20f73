"""Write tables as Markdown, CSV and LaTeX (booktabs)."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import pandas as pd

from s2rm.core.files import replace_text

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "−": r"$-$",
    "≥": r"$\geq$",
    "Σ": r"$\Sigma$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "²": r"\textsuperscript{2}",
}
EMPTY = "–"


@dataclass(frozen=True)
class Table:
    """The cells of a table with the caption, the sources and the footnotes that belong to them."""

    name: str
    """The stem of its files."""
    title: str
    caption: str
    """Metric, resolution, splits and data."""
    frame: pd.DataFrame
    """Index: the heading of the row's group, "" for none. Columns: (heading above the column, its name)."""
    sources: tuple[str, ...]
    """One per row, for the CSV."""
    footnotes: tuple[str, ...]
    decimals: int
    """Of floating-point numbers."""
    keys: tuple[str, ...] = ()
    """One per row: the key of its source in references.bib, "" for none; () for none at all."""
    not_in_latex: tuple[tuple[str, str], ...] = ()
    """Columns that are left out in LaTeX."""
    latex_names: tuple[tuple[str, str], ...] = ()
    """Headings above columns that are shorter in LaTeX."""

    def to_json(self) -> str:
        """Return all of it as JSON, which `from_json` reads."""
        about = {name: value for name, value in vars(self).items() if name != "frame"}
        frame = {
            "index": list(self.frame.index),
            "columns": [list(column) for column in self.frame.columns],
            "data": self.frame.astype(object).where(self.frame.notna(), None).to_numpy().tolist(),
        }
        return json.dumps({**about, "frame": frame}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the table that `to_json` wrote."""
        about = json.loads(text)
        parts = about.pop("frame")
        columns = pd.MultiIndex.from_tuples(map(tuple, parts["columns"]))
        frame = pd.DataFrame(parts["data"], index=parts["index"], columns=columns)
        lists: dict[str, Any] = {name: tuple(about.pop(name)) for name in ("sources", "footnotes", "keys")}
        lists |= {name: tuple(map(tuple, about.pop(name))) for name in ("not_in_latex", "latex_names")}
        return cls(frame=frame, **lists, **about)

    def header(self) -> list[tuple[str, list[str]]]:
        """Group the columns by the heading above them: ("RefCOCO", ["val", "testA", "testB"])."""
        columns = [(str(column[0]), str(column[1])) for column in self.frame.columns]
        return [(above, [name for _, name in names]) for above, names in groupby(columns, itemgetter(0))]

    def groups(self) -> list[tuple[str, list[list[str]]]]:
        """Return the rows as text, by the heading of their group."""
        rows = [
            (str(label), [self._text(value) for value in row])
            for label, row in zip(
                self.frame.index, self.frame.itertuples(index=False, name=None), strict=True
            )
        ]
        return [(label, [row for _, row in group]) for label, group in groupby(rows, itemgetter(0))]

    def numeric(self) -> list[bool]:
        """Return for each column whether it holds numbers."""
        return [pd.api.types.is_numeric_dtype(dtype) for dtype in self.frame.dtypes]

    def _text(self, value: object) -> str:
        if isinstance(value, float):
            return EMPTY if pd.isna(value) else f"{value:.{self.decimals}f}"
        return EMPTY if value is None else str(value) or EMPTY


def write_mean(mean: float, spread: float, decimals: int) -> str:
    """Write a mean over seeds, as "82.81 ± 0.32", or "82.81" where a single seed has no deviation."""
    return f"{mean:.{decimals}f}" + ("" if pd.isna(spread) else f" ± {spread:.{decimals}f}")


def to_markdown(table: Table) -> str:
    """Format the table in GitHub's Markdown, with the two header lines joined into one."""
    names = [f"{above} {name}".strip() for above, names in table.header() for name in names]
    lines = [
        f"## {_markdown(table.title)}",
        "",
        _markdown(table.caption),
        "",
        _line(names),
        _line(["---:" if numeric else "---" for numeric in table.numeric()], escape=str),
    ]
    for label, rows in table.groups():
        if label:
            lines.append(_line([f"**{_markdown(label)}**"] + [""] * (len(names) - 1), escape=str))
        lines += [_line(row) for row in rows]
    lines += ["", *(f"{number}. {_markdown(note)}" for number, note in enumerate(table.footnotes, start=1))]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Format the table as CSV with one header line; caption and footnotes are in the other formats only.

    Numbers have full precision. A missing value is an empty cell. The columns `group` and `source` tell
    published numbers and ours apart.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{above} {name}".strip() for above, names in table.header() for name in names]
    writer.writerow(["table", "group", *names, "source"])
    rows = table.frame.itertuples(index=False, name=None)
    for label, row, source in zip(table.frame.index, rows, table.sources, strict=True):
        cells = ["" if value == EMPTY or pd.isna(value) else value for value in row]
        writer.writerow([table.title, label, *cells, source])
    return file.getvalue()


def to_latex(table: Table) -> str:
    """Format the table as a LaTeX `table*` as wide as the text, in 8 points; it needs booktabs.

    Columns of `Table.not_in_latex` are left out, so that it fits a page of two columns; the footnotes become
    comments.
    """
    kept = [place for place, column in enumerate(table.frame.columns) if column not in table.not_in_latex]
    columns = [table.frame.columns[place] for place in kept]
    header = [(above, len(list(names))) for above, names in groupby(str(column[0]) for column in columns)]
    numeric = table.numeric()
    above, rules, column = [], [], 1
    short = dict(table.latex_names)
    for name, count in header:
        label = short.get(name, name)
        above.append(
            rf"\multicolumn{{{count}}}{{c}}{{{escape_latex(label)}}}" if label else "& " * (count - 1)
        )
        if label:
            rules.append(rf"\cmidrule(lr){{{column}-{column + count - 1}}}")
        column += count
    body, keys = [], iter(table.keys)
    for number, (label, rows) in enumerate(table.groups()):
        if number:
            body.append(r"\midrule")
        if label:
            body.append(rf"\multicolumn{{{len(kept)}}}{{@{{}}l}}{{\emph{{{escape_latex(label)}}}}} \\")
        for row in rows:
            cells = [escape_latex(row[place]) for place in kept]
            if key := next(keys, ""):
                cells[0] += rf"~\cite{{{key}}}"
            body.append(" & ".join(cells) + r" \\")
    notes = "".join(f" {escape_latex(f'{each} = {name}.')}" for name, each in table.latex_names)
    lines = [
        r"% \usepackage{booktabs}",
        *(f"% {note}" for note in table.footnotes),
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{2pt}",
        rf"\caption{{\textbf{{{escape_latex(table.title)}.}} {escape_latex(table.caption)}{notes}}}",
        rf"\label{{tab:{table.name}}}",
        r"\begin{tabular*}{\textwidth}{@{\extracolsep{\fill}}"
        + "".join("r" if numeric[place] else "l" for place in kept)
        + "@{}}",
        r"\toprule",
        *([" & ".join(above) + r" \\", *rules] if rules else []),
        " & ".join(escape_latex(str(column[1])) for column in columns) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular*}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write the table in every format, <folder>/<name>.md, .csv and .tex; return the paths."""
    formats = {"md": to_markdown, "csv": to_csv, "tex": to_latex}
    return [replace_text(folder / f"{table.name}.{end}", write(table)) for end, write in formats.items()]


def _line(cells: list[str], escape: Callable[[str], str] | None = None) -> str:
    return "| " + " | ".join((escape or _markdown)(cell) for cell in cells) + " |"


def _markdown(text: str) -> str:
    text = " ".join(text.split())
    return re.sub(r"[\\`*<>|\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)


def escape_latex(text: str) -> str:
    """Return the text as LaTeX shows it."""
    return "".join(_LATEX.get(character, character) for character in text)
