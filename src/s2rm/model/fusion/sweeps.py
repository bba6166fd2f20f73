"""The sweeps of coparsing and their names: rotations, directions over the image, roles.

A rotation is an index into SWEEPS, a role is a key of `S2RMFusion.coparse`. This module loads no torch, so
that reports can use it.
"""

# For the rotations by 0°, 90°, 180°, 270°: dim of the slices in an NCHW map, and whether the last is first.
SWEEPS = ((2, False), (3, True), (2, True), (3, False))
ROLES = {
    "language_to_vision": "language swept, vision parsed",
    "vision_to_language": "vision swept, language parsed",
}
DIRECTIONS = {
    (2, False): "top to bottom",
    (3, False): "left to right",
    (2, True): "bottom to top",
    (3, True): "right to left",
}
_SLICES = {(2, False): "rows ↓", (3, False): "columns →", (2, True): "rows ↑", (3, True): "columns ←"}


def name_sweep(rotation: int) -> str:
    """Return what the sweep under a rotation reads over the unrotated image, with an arrow: "rows ↓"."""
    return _SLICES[SWEEPS[rotation]]
