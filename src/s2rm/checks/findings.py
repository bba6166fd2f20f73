"""What the checks have found."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from s2rm.core.errors import UserError

Status = Literal["ok", "warning", "error", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: name of the thing.
        status: "error" stops a stage, "warning" may not be meant; "not checked" cannot be known yet.
        found: what was found, and for warnings and errors what helps.
    """

    what: str
    status: Status
    found: str


def attempt(what: str, look: Callable[[], str]) -> Finding:
    """Return what `look` finds; an error where it raises a `UserError`."""
    try:
        return Finding(what, "ok", look())
    except UserError as error:
        return Finding(what, "error", " ".join(str(error).split()))


def format_findings(findings: Iterable[Finding]) -> list[str]:
    """Return the findings as the lines of a table."""
    rows = [(finding.what, finding.status, finding.found) for finding in findings]
    width = max(len(what) for what, _, _ in rows)
    return [f"{what:<{width}}  {status:<11}  {found}" for what, status, found in rows]
