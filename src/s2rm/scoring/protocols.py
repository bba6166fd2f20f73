"""How masks are compared: at which size, with which threshold, by which rules. Each rule has its source.

docs/evaluation.md compares them. Where the field's names differ: oIoU is ReLA's and LISA's cIoU, mIoU their
gIoU, and what CRIS, ETRIS and VLT call IoU is mIoU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from s2rm.core.errors import UserError

SIDE = 480  # pixels; the input of LAVT, DMMI, ReLA and of presets/paper.yaml


@dataclass(frozen=True)
class Protocol:
    """One way to compare a predicted with a true mask."""

    name: str
    size: Literal["model", "original"]
    """`model`: both masks at a square of `side` pixels, by the nearest pixel; `original`: the image's own."""
    threshold: float = 0.5
    """On a probability; predictions that are masks already do not have one."""
    side: int = SIDE
    strict: bool = False
    """Whether P@X counts IoU > X rather than ≥ X."""
    names: Mapping[str, str] | None = None
    """Our name of a metric → the peer's."""
    source: str = "this project"


PROTOCOLS: Mapping[str, Protocol] = {
    each.name: each
    for each in (
        Protocol("model", "model"),
        Protocol("original", "original"),
        Protocol(
            "lavt", "model", source="LAVT test.py, transforms.py: 480×480, the truth by the nearest pixel"
        ),
        Protocol(
            "cris",
            "original",
            threshold=0.35,
            strict=True,
            names={"mIoU": "IoU"},
            source="CRIS engine/engine.py: own size, probability > 0.35, P@X with >",
        ),
        Protocol(
            "lisa",
            "original",
            names={"oIoU": "cIoU", "mIoU": "gIoU"},
            source="LISA, EVF-SAM eval.py: own size, cIoU = Σ I / Σ U, gIoU = the mean",
        ),
    )
}


def find_protocols(name: str) -> list[Protocol]:
    """Return the protocols that a name stands for; `both` are our two.

    Raises:
        UserError: the name is unknown.
    """
    if name == "both":
        return [PROTOCOLS["model"], PROTOCOLS["original"]]
    if name not in PROTOCOLS:
        raise UserError(f"--protocol is {name}: it must be both, {', '.join(PROTOCOLS)}")
    return [PROTOCOLS[name]]
