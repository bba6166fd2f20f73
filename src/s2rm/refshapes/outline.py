"""Outlines of things as polygons: the geometry that the drawing and the masks share.

A thing is one polygon, a person two (head and body), as COCO annotates parts that do not touch each other.
Coordinates are continuous pixels: pixel i covers [i, i + 1].
"""

from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (n, 2): x, y


def _regular(corners: int, phase: float = -pi / 2, inner: float = 1.0) -> Points:
    """Return points on the unit circle, starting at `phase`; every second one at radius `inner`."""
    angles = phase + np.arange(corners) * 2 * pi / corners
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> Points:
    t = np.linspace(0, 2 * pi, 32, endpoint=False)
    height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -height], axis=1)


def _cross() -> Points:
    arm, end = 0.34, 1.0  # half a beam's thickness, half a beam's length
    quarter = np.array([(arm, -end), (arm, -arm), (end, -arm)])
    quarter_turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(quarter_turn, turns) for turns in range(4)])


def _body() -> Points:
    """Return a pictogram's body, symmetric about x = 0: shoulders, tapering trunk and two legs."""
    shoulder = [(0.5 * sin(a), -0.5 * cos(a) * 0.3) for a in np.linspace(0.3, pi / 2, 5)]
    right = [*shoulder, (0.46, 0.42), (0.34, 0.42), (0.34, 0.95), (0.07, 0.95), (0.07, 0.55)]
    return np.array([*right, *((-x, y) for x, y in reversed(right))], dtype=np.float64)


def _fitted(*parts: Points) -> tuple[Points, ...]:
    """Move and scale parts together so that their box is centred at 0 and has area 1."""
    everything = np.concatenate(parts)
    low, high = everything.min(axis=0), everything.max(axis=0)
    return tuple((part - (low + high) / 2) / (high - low).prod() ** 0.5 for part in parts)


_HEAD = _regular(20) * 0.3 + np.array([0.0, -0.49])
_UNIT: dict[str, tuple[Points, ...]] = {
    "circle": _fitted(_regular(28)),
    "square": _fitted(_regular(4, phase=-pi / 4)),
    "triangle": _fitted(_regular(3)),
    "star": _fitted(_regular(10, inner=0.42)),
    "cross": _fitted(_cross()),
    "diamond": _fitted(_regular(4) * np.array([0.8, 1.0])),
    "heart": _fitted(_heart()),
    "person": _fitted(_HEAD, _body()),
}


def outline(category: str, side: float, angle: float, centre: tuple[float, float]) -> tuple[Points, ...]:
    """Return the polygons of a thing, each (points, 2).

    Args:
        category: a shape or "person".
        side: the square root of the box's area, in pixels, before it is rotated.
        angle: the rotation in radians.
        centre: x, y of the box's centre in pixels.
    """
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    return tuple(np.round(part * side @ turn + np.asarray(centre), 2) for part in _UNIT[category])


def box_of(parts: tuple[Points, ...]) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1 of all parts together."""
    points = np.concatenate(parts)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)
