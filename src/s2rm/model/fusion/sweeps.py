"""Names of the sweeps of coparsing: rotations, what they read over the image, the roles. Loads no torch.

A rotation is an index into SWEEPS, a role a key of `S2RMFusion.coparse`.
"""

# (dim of the slices in an NCHW map, last to first?) of the rotations by 0°, 90°, 180°, 270°
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
    """Name what the sweep under a rotation reads over the unrotated image, and in which direction."""
    return _SLICES[SWEEPS[rotation]]
