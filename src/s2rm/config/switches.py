"""List the method's switches with the values of the full method, and refuse those that change nothing.

An experiment with an idle switch would appear in the tables as one that makes no difference.
"""

from collections.abc import Mapping
from typing import Any

from s2rm.config.network import Decoder, Fusion


def _by_full_key(fusion: Fusion, decoder: Decoder) -> dict[str, Any]:
    sections = (("fusion", fusion), ("decoder", decoder))
    return {f"{name}.{key}": value for name, section in sections for key, value in section}


# Sizes are not switches. Nor are the stages: which of them are fused is a matter of scale, and no choice is
# the full method's.
_SIZES = ("fusion.widths", "fusion.stages", "decoder.width")
FULL_METHOD: Mapping[str, Any] = {
    key: value for key, value in _by_full_key(Fusion(), Decoder()).items() if key not in _SIZES
}

SWEEP = ("fusion.rotations", "fusion.state", "fusion.recurrence", "fusion.slice_kernel")
DISTRIBUTION = ("fusion.affinity", "fusion.refine", "fusion.coordinates")
TRILOGY = ("fusion.distribution", *DISTRIBUTION, "fusion.coparsing", *SWEEP, "fusion.balancing")

# A switch and its value → the switches that it makes idle. A cascade never is: it joins maps, fused or not.
IDLE: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("fusion.kind", "pwam"): TRILOGY,
    ("fusion.kind", "concat"): ("fusion.query", *TRILOGY),
    ("fusion.kind", "none"): ("fusion.query", *TRILOGY, "decoder.language_guidance"),
    ("fusion.distribution", "tile"): ("fusion.query", *DISTRIBUTION),
    ("fusion.coparsing", "none"): SWEEP,
    ("decoder.kind", "fpn"): ("decoder.language_guidance", "decoder.foreground_guidance"),
}


def refuse_idle_switches(fusion: Fusion, decoder: Decoder) -> None:
    """Refuse a switch that changes nothing and yet differs from the full method.

    Raises:
        ValueError: there is such a switch; the message names it, its cause and the value to leave it at.
    """
    values = _by_full_key(fusion, decoder)
    for (switch, value), idle in IDLE.items():
        if values[switch] != value:
            continue
        for key in idle:
            if values[key] != FULL_METHOD[key]:
                given, full = (str(shown).lower() for shown in (values[key], FULL_METHOD[key]))
                raise ValueError(
                    f"{key} is {given}, which changes nothing with {switch}={value}: leave it at {full}"
                )
