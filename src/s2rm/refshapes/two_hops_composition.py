"""Composes an image of the two-hops partition, where most expressions relate to what is itself related.

"The star in the row of the cross below the red circle": several stars, several crosses, one red circle. The
cross must be found before its row can be followed. Each image has one expression without a relation, one with
one, two whose inner relation is a row or column, and two whose inner relation is a side.
"""

from collections.abc import Sequence
from functools import partial
from random import Random

from s2rm.refshapes.scene import Scene
from s2rm.refshapes.semantics import DIRECTIONS
from s2rm.refshapes.structured_composition import choose_what, compose_spoken, described
from s2rm.refshapes.structured_phrases import StructuredPhrase, What
from s2rm.refshapes.structured_scene import sample_lattice
from s2rm.refshapes.structured_semantics import denote_phrase, holds

_LINES = ("row", "column")


def compose_two_hops(rng: Random) -> tuple[Scene, list[tuple[int, str]]]:
    """Return a scene of 6 rows and columns and its expressions, each with the index of its referent."""
    # All colours and shapes, as the last anchor must be the only thing that has both of its attributes.
    sample = partial(sample_lattice, lines=(6,), kinds=(4,))
    inner_line, inner_side = (partial(_two_hops, inner=tails) for tails in (_LINES, tuple(DIRECTIONS)))
    return compose_spoken(rng, sample, (described, _one_hop, inner_line, inner_line, inner_side, inner_side))


def _one_hop(rng: Random, scene: Scene, i: int) -> StructuredPhrase:
    # Without an anchor: the thing itself, which the checker refuses.
    anchor = rng.choice(_only_ones(scene, i) or [described(rng, scene, i)])
    return StructuredPhrase(choose_what(rng, scene, i), tail=rng.choice(_LINES), anchors=(anchor,))


def _two_hops(rng: Random, scene: Scene, i: int, inner: Sequence[str]) -> StructuredPhrase:
    """Propose an expression whose inner relation is one of these and identifies another thing than i."""
    line = rng.choice(_LINES)
    j = rng.choice([j for j in range(len(scene.things)) if j != i and holds(line, i, [j], scene)] or [i])
    what = choose_what(rng, scene, j)
    anchors = [
        anchor
        for only in _only_ones(scene, i)
        for tail in inner
        if tail != line  # a row's row is the row
        and denote_phrase(anchor := StructuredPhrase(what, tail=tail, anchors=(only,)), scene) == {j}
    ]
    anchor = rng.choice(anchors or [described(rng, scene, i)])
    return StructuredPhrase(choose_what(rng, scene, i), tail=line, anchors=(anchor,))


def _only_ones(scene: Scene, i: int) -> list[StructuredPhrase]:
    """Return what names the things other than i that alone have their colour and shape."""
    kinds = [(thing.colour, thing.category) for thing in scene.things]
    return [StructuredPhrase(What(*kind)) for kind in kinds if kinds.count(kind) == 1 and kind != kinds[i]]
