"""Decides what a phrase of the structured partitions is true of, from its text and the scene alone.

As in `refshapes.semantics`, the generator proposes and this checker decides. Meanings: things are in one row
when their centres are level; "below" is any lower row; "between" means in one row (or column) with both
anchors and between them. Ranks count all things of the kind from the named side; the k-th must be clearly
apart from its neighbours in that order.
"""

from dataclasses import replace

from s2rm.refshapes.scene import Scene, Thing
from s2rm.refshapes.semantics import DIRECTIONS, AmbiguousError
from s2rm.refshapes.structured_phrases import StructuredPhrase, What, parse

SAME = 0.06  # centres closer than this, as a share of the canvas, are in one line
APART = 0.12  # centres farther apart than this are in two lines


def denote(text: str, scene: Scene) -> frozenset[int]:
    """Return the indices in `scene.things` of which the text is true.

    Raises:
        grammar.UnintelligibleError: the text is not in the grammar.
        semantics.AmbiguousError: it might be true of a thing, or an anchor is not exactly one thing.
    """
    return denote_phrase(parse(text), scene)


def denote_phrase(phrase: StructuredPhrase, scene: Scene) -> frozenset[int]:
    """Return the indices in `scene.things` of which the phrase is true.

    Raises:
        semantics.AmbiguousError: as for `denote`.
    """
    found = matching(phrase.what, scene)
    if phrase.tail:
        anchors = [_only(anchor, scene) for anchor in phrase.anchors]
        found = [i for i in found if i not in anchors and holds(phrase.tail, i, anchors, scene)]
    if phrase.rank is not None and phrase.side:
        return _ranked(found, phrase.rank, phrase.side, scene)
    return frozenset(found)


def denote_first_hop(phrase: StructuredPhrase, scene: Scene) -> frozenset[int]:
    """Return of what a phrase is true if its only anchor may be any thing with the anchor's attributes.

    "The star in the row of the cross below the red circle": the stars in the row of any cross.
    """
    assert phrase.tail
    anchors = matching(phrase.anchors[0].what, scene)
    return frozenset(
        i
        for i in matching(phrase.what, scene)
        if any(i != anchor and holds(phrase.tail, i, [anchor], scene) for anchor in anchors)
    )


def denote_last_hop(phrase: StructuredPhrase, scene: Scene) -> frozenset[int]:
    """Return of what a phrase is true if its anchor's relation is its own: "the star below the red circle".

    Raises:
        semantics.AmbiguousError: as for `denote`.
    """
    return denote_phrase(replace(phrase.anchors[0], what=phrase.what), scene)


def matching(what: What, scene: Scene) -> list[int]:
    """Return the indices in `scene.things` of those that have the attributes."""
    return [
        i
        for i, thing in enumerate(scene.things)
        if what.colour in (None, thing.colour) and what.shape in (None, thing.category)
    ]


def _only(anchor: StructuredPhrase, scene: Scene) -> int:
    found = denote_phrase(anchor, scene)
    if len(found) != 1:
        raise AmbiguousError(f"{len(found)} things could be {str(anchor)!r}")
    (only,) = found
    return only


def holds(tail: str, i: int, anchors: list[int], scene: Scene) -> bool:
    """Return whether a thing has that relation to the anchors: two for "between", none for "top row".

    Raises:
        semantics.AmbiguousError: it is not clear.
    """
    if tail in ("row", "column"):
        return _in_line(i, anchors[0], "row" if tail == "row" else "column", scene)
    if tail in DIRECTIONS:
        return _beyond(i, anchors[0], tail, scene)
    if tail == "between":
        return _between(i, anchors[0], anchors[1], scene)
    side, line = tail.split()
    first = min(range(len(scene.things)), key=lambda j: side_distance(scene.things[j], side, scene))
    return _in_line(i, first, line, scene)


def _in_line(i: int, j: int, line: str, scene: Scene) -> bool:
    """Return whether two things are in one row, or column; `AmbiguousError` where that is not clear."""
    gap = abs(_along(i, line, scene) - _along(j, line, scene))
    if SAME < gap < APART:
        raise AmbiguousError(f"two things are neither clearly in one {line} nor in two")
    return gap <= SAME


def _along(i: int, line: str, scene: Scene) -> float:
    """Return a thing's position along the axis that separates the rows (or columns), as a share."""
    x, y = scene.things[i].centre
    return y / scene.height if line == "row" else x / scene.width


def side_distance(thing: Thing, side: str, scene: Scene) -> float:
    """Return the distance of a thing's centre from that side of the canvas, as a share."""
    x, y = thing.centre
    dx, dy = DIRECTIONS[side]
    return -(dx * (x / scene.width) + dy * (y / scene.height)) + max(dx, dy, 0)


def _beyond(i: int, anchor: int, side: str, scene: Scene) -> bool:
    """Return whether a thing is in a line nearer to that side than the anchor's."""
    line = "row" if side in ("top", "bottom") else "column"
    nearer = side_distance(scene.things[i], side, scene) < side_distance(scene.things[anchor], side, scene)
    return nearer and not _in_line(i, anchor, line, scene)


def _between(i: int, one: int, other: int, scene: Scene) -> bool:
    for line, across in (("row", "column"), ("column", "row")):
        if _in_line(one, other, line, scene):
            low, high = sorted(_along(j, across, scene) for j in (one, other))
            return _in_line(i, one, line, scene) and low < _along(i, across, scene) < high
    raise AmbiguousError("the two anchors share no row or column")


def _ranked(found: list[int], rank: int, side: str, scene: Scene) -> frozenset[int]:
    """Return the rank-th of `found`, counted from that side."""
    order = sorted(found, key=lambda i: side_distance(scene.things[i], side, scene))
    if len(order) < rank:
        return frozenset()
    places = [side_distance(scene.things[i], side, scene) for i in order]
    neighbours = [places[k] for k in (rank - 2, rank) if 0 <= k < len(places)]
    if any(abs(place - places[rank - 1]) < APART for place in neighbours):
        raise AmbiguousError(f"number {rank} from the {side} is not clearly apart from the next")
    return frozenset([order[rank - 1]])
