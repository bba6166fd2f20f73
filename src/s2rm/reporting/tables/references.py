"""Write references.bib: the published methods of the tables, by the keys that the LaTeX tables cite.

What we know of a method is what published.csv says: its name, venue and year, and where its numbers are
from. Authors and titles belong to those who cite it.
"""

import re
from pathlib import Path

import pandas as pd

from s2rm.core.files import replace_text
from s2rm.reporting.tables.published import PAPER
from s2rm.reporting.tables.table_writers import escape_latex

PAPER_KEY = "s2rm"


def make_key(method: str, year: str) -> str:
    """Return the key of a method: "LAVT-One (Dice loss)" of 2023 becomes lavt-one-dice-loss-2023."""
    if method == PAPER:
        return PAPER_KEY
    return "-".join(re.findall(r"[a-z0-9]+", method.lower())) + f"-{year}"


def write_references(path: Path, published: pd.DataFrame) -> Path:
    """Write one entry per method of the published numbers; return `path`."""
    entries = []
    for (method, year), rows in published.groupby(["method", "year"], sort=False):
        venues, sources = ("; ".join(dict.fromkeys(rows[name])) for name in ("venue", "source"))
        fields = {
            "title": f"{{{escape_latex(str(method))}}}",
            "howpublished": escape_latex(venues),
            "year": str(year),
            "note": escape_latex(f"numbers: {sources}"),
        }
        text = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        entries.append(f"@misc{{{make_key(str(method), str(year))},\n{text}\n}}\n")
    return replace_text(path, "\n".join(entries))
