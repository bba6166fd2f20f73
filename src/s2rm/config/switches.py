"""The method's switches: the full method's values, and where a switch changes nothing.

An experiment whose switch is idle would stand in the tables as one that makes no difference, so it
is refused.
"""

from collections.abc import Mapping
from typing import Any

FULL_METHOD: Mapping[str, Any] = {
    "fusion.kind": "s2rm",
    "fusion.distribution": "attention",
    "fusion.query": "sentence",
    "fusion.coparsing": "both",
    "fusion.rotations": 4,
    "fusion.state": "generator",
    "fusion.recurrence": "scan",
    "fusion.slice_kernel": 3,
    "fusion.balancing": True,
    "fusion.cascade": "none",
    "decoder.kind": "casg",
    "decoder.language_guidance": True,
    "decoder.foreground_guidance": True,
}

SWEEP = ("fusion.rotations", "fusion.state", "fusion.recurrence", "fusion.slice_kernel")
TRILOGY = ("fusion.distribution", "fusion.coparsing", *SWEEP, "fusion.balancing")

# What a switch's value leaves idle. A cascade acts with every kind: it joins maps, fused or not. Which
# stages are fused is a matter of scale, not of the method: no value is the full method's, none is refused.
IDLE: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("fusion.kind", "pwam"): TRILOGY,
    ("fusion.kind", "concat"): ("fusion.query", *TRILOGY),
    ("fusion.kind", "none"): ("fusion.query", *TRILOGY, "decoder.language_guidance"),
    ("fusion.distribution", "tile"): ("fusion.query",),
    ("fusion.coparsing", "none"): SWEEP,
    ("decoder.kind", "fpn"): ("decoder.language_guidance", "decoder.foreground_guidance"),
}


def refuse_idle_switches(values: Mapping[str, Any]) -> None:
    """`ValueError` where an idle switch has another value than the full method; `values` by full key."""
    for (switch, value), idle in IDLE.items():
        if values[switch] != value:
            continue
        for key in idle:
            if values[key] != FULL_METHOD[key]:
                given, full = (str(shown).lower() for shown in (values[key], FULL_METHOD[key]))
                raise ValueError(
                    f"{key} is {given}, which changes nothing with {switch}={value}: leave it at {full}"
                )
