"""Composes an image of the structured partition: its scene, and its expressions, each checked.

There are five kinds of expressions, in random order. Attributes alone resolve none of them except the
described ones, which separate learning to see from learning to relate: "the red star" needs both words, as
several things are red and several are stars.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from s2rm.refshapes.scene import Scene
from s2rm.refshapes.semantics import AmbiguousError
from s2rm.refshapes.structured_phrases import EXTREMES, OUTER_LINES, StructuredPhrase, What
from s2rm.refshapes.structured_scene import sample_lattice
from s2rm.refshapes.structured_semantics import (
    SAME,
    denote,
    denote_first_hop,
    denote_last_hop,
    denote_phrase,
    matching,
)

REFERENTS = 6  # per image
_TRIES = 60

Propose = Callable[[Random, Scene, int], StructuredPhrase]


def compose_structured(rng: Random) -> tuple[Scene, list[tuple[int, str]]]:
    """Return a scene and its expressions, each with the index in `scene.things` of its referent."""
    related = (_ordinal, in_line, _beyond, _between)
    return compose_spoken(rng, sample_lattice, (described, *related, *related))


def compose_spoken(
    rng: Random, sample: Callable[[Random], Scene], proposers: Sequence[Propose]
) -> tuple[Scene, list[tuple[int, str]]]:
    """Compose a scene and REFERENTS different expressions.

    Args:
        rng: the source of all choices.
        sample: samples a scene.
        proposers: make one expression each, in random order, until there are enough.

    Returns:
        As `compose_structured`.
    """
    while True:
        scene, order = sample(rng), list(proposers)
        rng.shuffle(order)
        spoken: dict[str, int] = {}
        for propose in order:
            if said := _say(rng, scene, propose):
                spoken[said[1]] = said[0]
            if len(spoken) == REFERENTS:
                return scene, [(i, text) for text, i in spoken.items()]


def _say(rng: Random, scene: Scene, propose: Propose) -> tuple[int, str] | None:
    """Return a referent and a true expression of that kind, if one is found."""
    for _ in range(_TRIES):
        i = rng.randrange(len(scene.things))
        phrase = propose(rng, scene, i)
        text = str(phrase)
        try:
            if denote(text, scene) == {i} and _needs_all(phrase, scene, i):
                return i, text
        except AmbiguousError:
            continue
    return None


def _needs_all(phrase: StructuredPhrase, scene: Scene, i: int) -> bool:
    """Return whether neither the attributes, nor the position, nor one hop alone would suffice."""
    if phrase.tail is None and phrase.rank is None:
        return _shares_attributes(scene, i)
    alone = phrase.rank is None and len(denote_phrase(replace(phrase, what=What()), scene)) < 2
    hops = [anchor for anchor in phrase.anchors if anchor.tail]
    return (
        len(matching(phrase.what, scene)) > 1
        and not alone
        and all(_needs_both_hops(phrase, anchor, scene, i) for anchor in hops)
    )


def _needs_both_hops(phrase: StructuredPhrase, anchor: StructuredPhrase, scene: Scene, i: int) -> bool:
    """Return whether no way past one of the hops, or past the thing between them, would suffice."""
    (between,) = denote_phrase(anchor, scene)
    return (
        _needs_all(anchor, scene, between)
        and len(denote_first_hop(phrase, scene)) > 1
        and denote_last_hop(phrase, scene) != {i}
        and denote_phrase(replace(phrase, anchors=anchor.anchors), scene) != {i}
    )


def _shares_attributes(scene: Scene, i: int) -> bool:
    thing = scene.things[i]
    return all(
        len(matching(what, scene)) > 1 for what in (What(colour=thing.colour), What(shape=thing.category))
    )


def choose_what(rng: Random, scene: Scene, i: int) -> What:
    """Return one attribute, two, or none ("thing")."""
    thing, way = scene.things[i], rng.random()
    return What(thing.colour if way < 0.55 else None, thing.category if way > 0.35 and way < 0.9 else None)


def _anchor(rng: Random, scene: Scene, i: int) -> StructuredPhrase:
    """Return another thing, described by both of its attributes."""
    other = rng.choice([j for j in range(len(scene.things)) if j != i])
    return described(rng, scene, other)


def described(rng: Random, scene: Scene, i: int) -> StructuredPhrase:
    """Propose colour and shape."""
    return StructuredPhrase(What(scene.things[i].colour, scene.things[i].category))


def _ordinal(rng: Random, scene: Scene, i: int) -> StructuredPhrase:
    """Count over the whole scene, or within one row or column."""
    what, rank = choose_what(rng, scene, i), rng.choice((1, 2, 2, 3, 3, 4))
    if rng.random() < 0.5:
        return StructuredPhrase(what, rank, rng.choice(list(EXTREMES.values())))
    line = rng.choice(("row", "column"))
    side = rng.choice(("left", "right") if line == "row" else ("top", "bottom"))
    if rng.random() < 0.4:
        tail = rng.choice([name for name in OUTER_LINES.values() if name.endswith(line)])
        return StructuredPhrase(what, rank, side, tail)
    return StructuredPhrase(what, rank, side, line, (_anchor(rng, scene, i),))


def in_line(rng: Random, scene: Scene, i: int) -> StructuredPhrase:
    """Propose an expression such as "the star in the row of the red cross"."""
    return StructuredPhrase(
        choose_what(rng, scene, i), tail=rng.choice(("row", "column")), anchors=(_anchor(rng, scene, i),)
    )


def _beyond(rng: Random, scene: Scene, i: int) -> StructuredPhrase:
    """Propose an expression such as "the topmost star below the red cross"."""
    side, opposite = rng.choice((("top", "bottom"), ("bottom", "top"), ("left", "right"), ("right", "left")))
    return StructuredPhrase(choose_what(rng, scene, i), 1, side, opposite, (_anchor(rng, scene, i),))


def _between(rng: Random, scene: Scene, i: int) -> StructuredPhrase:
    """Choose anchors on both sides of the referent, in its row or column."""
    x, y = scene.things[i].centre
    across = rng.random() < 0.5
    sides: tuple[list[int], list[int]] = ([], [])
    for j, thing in enumerate(scene.things):
        along, off = (thing.centre[0] - x, thing.centre[1] - y)[:: 1 if across else -1]
        if j != i and abs(off) < SAME * scene.width:
            sides[along > 0].append(j)
    anchors = tuple(described(rng, scene, rng.choice(side or [i])) for side in rng.sample(sides, 2))
    return StructuredPhrase(choose_what(rng, scene, i), tail="between", anchors=anchors)
