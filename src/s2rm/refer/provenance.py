"""Where a benchmark's raw data comes from: `origin.json` beside it, written by the download stage.

The official statistics hold for genuine data alone, and by the route that was taken; nobody shall be unsure
whether a table is of photographs or of RefShapes.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from s2rm.core.errors import UserError
from s2rm.core.files import replace_text

FILE = "origin.json"


@dataclass(frozen=True)
class Provenance:
    source: Literal["refshapes", "folder", "archives", "unknown"]  # as params.yaml's data.source
    route: Literal["refer", "queries"] = "refer"  # refs(…).p and instances.json, or ReferIt's query lists
    archives: dict[str, str] = field(default_factory=dict)  # file → checksum, of data.source=archives

    @property
    def genuine(self) -> bool:
        return self.source in ("folder", "archives")


def write_provenance(folder: Path, provenance: Provenance) -> None:
    replace_text(folder / FILE, json.dumps(asdict(provenance), indent=2, sort_keys=True) + "\n")


def read_provenance(folder: Path) -> Provenance:
    """`unknown` where nothing is written; `UserError` where it is no provenance."""
    try:
        return Provenance(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Provenance("unknown")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / FILE} is unreadable: {error}; run `dvc repro download`") from None
