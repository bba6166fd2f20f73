"""Scenes of the structured partitions, by hand."""

from s2rm.refshapes.outline import box_of, outline
from s2rm.refshapes.scene import Band, Scene, Thing


def lattice(*rows: str) -> Scene:
    """A scene of 200×200 from words by row: "red star, -, blue circle"."""
    things = []
    for y, row in enumerate(rows):
        names = [name.strip() for name in row.split(",")]
        for x, name in enumerate(names):
            if name != "-":
                colour, category = name.split()
                centre = (200 * (x + 0.5) / len(names), 200 * (y + 0.5) / len(rows))
                parts = outline(category, 36.0, 0.0, centre)
                things.append(Thing(category, box_of(parts), colour, "small", parts))
    return Scene(200, 200, tuple(things), (Band("sky", (0.0, 0.0, 200.0, 200.0), 0.0),))
