"""Samples scenes of the structured partitions: things in rows and columns that share their attributes.

The canvases are larger than in the rest of RefShapes and hold more things, but no thing is smaller than a
sixth of the side (16 pixels at a model's input of 96; with 6 lines a seventh, 14 pixels), and colours, shapes
and grounds are few and distinct: the question is where something is, not what it is.
"""

from collections.abc import Sequence
from math import radians
from random import Random

import numpy as np

from s2rm.refshapes.outline import box_of, outline
from s2rm.refshapes.scene import Band, Scene, Thing

SHAPES = ("circle", "square", "star", "cross")  # about as wide as high
COLOURS = ("red", "green", "blue", "yellow")
GROUNDS = ("sky", "snow", "road")
SIDES = (192, 200, 208, 216)  # of the square canvas, pixels
LINES = (4, 5)  # rows, and columns, of the structured partition
EMPTY = (0.10, 0.25)  # the share of places that stay empty
# Of a thing's box, as a share of the canvas, by the larger number of lines.
SIDE = {4: (0.176, 0.190), 5: (0.170, 0.174), 6: (0.148, 0.151)}
JITTER = {4: 0.020, 5: 0.008, 6: 0.003}  # the largest shift of a thing from its place


def sample_lattice(rng: Random, lines: Sequence[int] = LINES, kinds: Sequence[int] = (3, 4)) -> Scene:
    """Sample a scene of things in few colours and shapes.

    Args:
        rng: the source of all choices.
        lines: the possible numbers of rows, and of columns.
        kinds: the possible numbers of colours, and of shapes.
    """
    canvas, rows, columns = rng.choice(SIDES), rng.choice(lines), rng.choice(lines)
    places = [(row, column) for row in range(rows) for column in range(columns)]
    taken = rng.sample(places, round(len(places) * (1 - rng.uniform(*EMPTY))))
    colours, shapes = rng.sample(COLOURS, rng.choice(kinds)), rng.sample(SHAPES, rng.choice(kinds))
    things = []
    for row, column in taken:
        x, y = (
            (place + 0.5) / count + rng.uniform(-1, 1) * JITTER[max(rows, columns)]
            for place, count in ((column, columns), (row, rows))
        )
        category, colour = rng.choice(shapes), rng.choice(colours)
        side, angle = rng.uniform(*SIDE[max(rows, columns)]), radians(rng.uniform(-4, 4))
        parts = outline(category, side * canvas, angle, (x * canvas, y * canvas))
        inside = tuple(np.clip(part, 0, canvas) for part in parts)
        things.append(Thing(category, box_of(inside), colour, "small", inside))
    ground = Band(rng.choice(GROUNDS), (0.0, 0.0, float(canvas), float(canvas)), 0.0)
    return Scene(canvas, canvas, tuple(things), (ground,))
