"""A scene: bands of background with a few things on them, sampled so that language is needed.

Colours and shapes are drawn from a small palette of the scene, so that things share attributes; `twins` adds
things that differ from another one in their place alone (or in their size alone).
"""

import hashlib
from dataclasses import dataclass, field
from math import radians
from random import Random

import numpy as np

from s2rm.refshapes.outline import Points, box_of, outline

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "heart")
COLOURS = {
    "red": (215, 35, 40),
    "green": (20, 135, 50),
    "blue": (35, 70, 225),
    "yellow": (248, 225, 25),
    "purple": (140, 40, 165),
    "orange": (250, 130, 15),
    "black": (22, 22, 26),
}
BACKGROUNDS = {
    "sky": (172, 210, 240),
    "sea": (78, 142, 165),
    "grass": (160, 198, 120),
    "sand": (230, 214, 174),
    "wall": (206, 190, 188),
    "floor": (98, 72, 58),
    "road": (128, 128, 132),
    "snow": (238, 243, 247),
}
# Possible backgrounds from the top of the image down. The repeated kinds make "top grass" necessary.
LAYOUTS = (
    ("grass",), ("sand",), ("snow",), ("wall",),
    ("sky", "grass"), ("sky", "sand"), ("sky", "sea"), ("sky", "snow"), ("sky", "road"),
    ("wall", "floor"), ("sea", "sand"), ("grass", "road"),
    ("sky", "sea", "sand"), ("sky", "grass", "road"), ("sky", "sea", "grass"), ("sky", "snow", "road"),
    ("grass", "road", "grass"), ("sand", "sea", "sand"), ("snow", "road", "snow"), ("grass", "sea", "grass"),
)  # fmt: skip
# Width and height in pixels. No side is more than 1.5 times the other: resized to a square, the smallest
# things keep a sixth of the side.
IMAGE_SIZES = (
    (160, 120), (120, 160), (144, 144), (176, 128), (128, 176), (192, 128),
    (128, 192), (144, 112), (112, 144), (160, 128), (128, 96), (96, 128),
)  # fmt: skip
# Side of a thing's box as a share of the image's (both geometric means); the two sizes differ clearly.
SIDES = {"small": (0.206, 0.222), "big": (0.300, 0.330)}
PERSON_SIDES = {"small": (0.225, 0.240), "big": (0.325, 0.350)}  # a person is slim: about as wide as a shape
MOST_THINGS = 7
GAP = 0.03  # least distance between things and to the border, as a share of the image's side


@dataclass(frozen=True)
class Region:
    """What an expression may refer to; `box` is x0, y0, x1, y1 in pixels."""

    category: str
    box: tuple[float, float, float, float]

    @property
    def centre(self) -> tuple[float, float]:
        """The box's centre, x, y in pixels."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class Thing(Region):
    """A shape or a person."""

    colour: str
    size: str  # small | big
    parts: tuple[Points, ...] = field(repr=False, compare=False)  # polygons in pixels

    @property
    def is_person(self) -> bool:
        """Whether it is a person, not a shape."""
        return self.category == "person"


@dataclass(frozen=True)
class Band(Region):
    """A strip of background over the image's whole width; its upper border tilts by `tilt` pixels."""

    tilt: float


@dataclass(frozen=True)
class Scene:
    """What an image shows; sizes in pixels."""

    width: int
    height: int
    things: tuple[Thing, ...]
    bands: tuple[Band, ...]  # from the top down

    @property
    def regions(self) -> tuple[Region, ...]:
        """All that may be referred to; everywhere else, a region is identified by its index here."""
        return (*self.things, *self.bands)

    def has_twin(self, thing: Thing) -> bool:
        """Return whether another thing has all the same attributes, so that only their places differ."""
        kinds = [(other.category, other.colour, other.size) for other in self.things]
        return kinds.count((thing.category, thing.colour, thing.size)) > 1

    @property
    def digest(self) -> str:
        """A digest that is equal for indistinguishable scenes (places rounded to pixels)."""
        facts = sorted(
            (region.category, getattr(region, "colour", ""), *(round(side) for side in region.box))
            for region in self.regions
        )
        return hashlib.sha256(repr((self.width, self.height, facts)).encode()).hexdigest()


@dataclass(frozen=True)
class Cast:
    """What a sampled scene should contain."""

    people: bool  # several persons, otherwise at most one
    twins: int  # how many things copy another one
    twins_differ: str  # in "place" alone, or in "size" too


def sample_scene(rng: Random, cast: Cast) -> Scene:
    """Sample a scene of 3 to 7 things with enough room for the cast."""
    while True:
        width, height = rng.choice(IMAGE_SIZES)
        bands = _sample_bands(rng, width, height)
        kinds = _sample_kinds(rng, cast)
        things = _place(rng, width, height, kinds)
        persons = sum(thing.is_person for thing in things)
        # At most one thing may have been left out for lack of room, as twins and persons are wanted.
        if len(things) >= max(3, len(kinds) - 1) and (not cast.people or persons >= 2):
            return Scene(width, height, tuple(things), bands)


def _sample_bands(rng: Random, width: int, height: int) -> tuple[Band, ...]:
    layout = rng.choice(LAYOUTS)
    # The heights are random, but no band is much thinner than the others.
    shares = [0.75 + rng.random() for _ in layout]
    bands, top = [], 0.0
    for number, (category, share) in enumerate(zip(layout, shares, strict=True)):
        bottom = height if number == len(layout) - 1 else top + height * share / sum(shares)
        tilt = rng.uniform(-0.03, 0.03) * height if number else 0.0
        bands.append(Band(category, (0.0, top, float(width), float(bottom)), tilt))
        top = bottom
    return tuple(bands)


Kind = tuple[str, str, str]  # category, colour, size


def _sample_kinds(rng: Random, cast: Cast) -> list[Kind]:
    """Sample the kinds of the things, no two alike, then those of the twins."""
    colours = rng.sample(list(COLOURS), 3)
    shapes = rng.sample(SHAPES, rng.choice((2, 3, 3)))
    number = rng.choice((3, 4, 4, 5, 5, 6)) - cast.twins // 2
    persons = rng.choice((2, 3, 3, 4)) if cast.people else rng.choice((0, 0, 1))
    kinds: list[Kind] = []
    while len(kinds) < max(number, persons + 1):
        category = "person" if len(kinds) < persons else rng.choice(shapes)
        kind = (category, rng.choice(colours), "small" if rng.random() < 0.6 else "big")
        if kind not in kinds:
            kinds.append(kind)
    for category, colour, size in rng.sample(kinds, cast.twins):
        if cast.twins_differ == "place":
            kinds.append((category, colour, size))
        elif (other := (category, colour, "big" if size == "small" else "small")) not in kinds:
            kinds.append(other)
    return kinds[:MOST_THINGS]


def _place(rng: Random, width: int, height: int, kinds: list[Kind]) -> list[Thing]:
    """Place the things, big ones first, each where there is room; one without room is left out."""
    side = (width * height) ** 0.5
    gap = GAP * side
    things: list[Thing] = []
    for category, colour, size in sorted(kinds, key=lambda kind: kind[2]):
        low, high = (PERSON_SIDES if category == "person" else SIDES)[size]
        angle = radians(rng.uniform(-4, 4) if category == "person" else rng.uniform(-9, 9))
        parts = outline(category, rng.uniform(low, high) * side, angle, (0.0, 0.0))
        x0, y0, x1, y1 = box_of(parts)
        for _ in range(40):
            x = rng.uniform(gap - x0, width - gap - x1)
            y = rng.uniform(gap - y0, height - gap - y1)
            box = (x0 + x, y0 + y, x1 + x, y1 + y)
            if all(_distance(box, thing.box) >= gap for thing in things):
                moved = tuple((part + np.array([x, y])).round(2) for part in parts)
                things.append(Thing(category, box_of(moved), colour, size, moved))
                break
    rng.shuffle(things)  # the order must not reveal the size
    return things


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the gap between two boxes along the axis on which they are farther apart."""
    return max(one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3])
