"""Records where a benchmark's raw data comes from: `origin.json` beside it, written by the download stage.

The official counts apply to genuine data only, and depend on the route; the record also makes sure that it is
always clear whether a table describes photographs or RefShapes.
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
    """The origin of a benchmark's raw data."""

    source: Literal["refshapes", "folder", "archives", "unknown"]  # as data.source in params.yaml
    route: Literal["refer", "queries"] = "refer"  # refs(…).p and instances.json, or ReferIt's query lists
    archives: dict[str, str] = field(default_factory=dict)  # file → checksum, with data.source=archives

    @property
    def genuine(self) -> bool:
        """Whether this is the published data, not drawn data."""
        return self.source in ("folder", "archives")


def write_provenance(folder: Path, provenance: Provenance) -> None:
    """Write the record into the folder of a benchmark's raw data."""
    replace_text(folder / FILE, json.dumps(asdict(provenance), indent=2, sort_keys=True) + "\n")


def read_provenance(folder: Path) -> Provenance:
    """Read the record in the folder of a benchmark's raw data; without one, the source is "unknown".

    Raises:
        UserError: the file is not such a record.
    """
    try:
        return Provenance(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Provenance("unknown")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / FILE} is unreadable: {error}; run `dvc repro download`") from None
