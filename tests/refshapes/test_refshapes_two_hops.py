"""The two-hops partition: what a related anchor means, and that neither of its relations can be left out."""

from collections import Counter

import pytest
from lattices import lattice

from s2rm.config.benchmarks import TWO_HOPS
from s2rm.refshapes import compose
from s2rm.refshapes.expression_kinds import kind_of
from s2rm.refshapes.scene import Scene
from s2rm.refshapes.semantics import AmbiguousError
from s2rm.refshapes.structured_phrases import What, parse
from s2rm.refshapes.structured_semantics import denote, denote_first_hop, denote_last_hop

COMPOSED = [compose(7, TWO_HOPS.name, split, index) for split in TWO_HOPS.splits for index in range(15)]
SPOKEN = [
    (each.scene, ref.region, text) for each in COMPOSED for ref in each.refs for text in ref.expressions
]
TWICE = [spoken for spoken in SPOKEN if kind_of(spoken[2], TWO_HOPS.name) == "two hops"]
SCENE = lattice(  # the things are numbered in reading order
    "red circle, -, green star, blue cross",
    "blue star, -, -, green cross",
    "-, yellow star, red cross, -",
    "blue star, -, -, green square",
)


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("the star in the row of the cross left of the green square", {5}),
        ("the star in the row of the green cross below the red circle", {3}),
        ("the star in the row of the cross in the column of the green star", {5}),
        ("the star in the column of the thing in the row of the red cross", set()),
        ("the lowest blue thing in the column of the star in the row of the green cross", {7}),
    ],
)
def test_a_tail_belongs_to_the_nearest_thing(text: str, things: set[int]) -> None:
    assert denote(text, SCENE) == things
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "the star in the row of the cross below the red circle",
            "2 things could be 'the cross below the red circle'",
        ),
        (
            "the star in the row of the circle below the blue cross",
            "0 things could be 'the circle below the blue cross'",
        ),
        ("the star in the row of the cross below the blue star", "2 things could be 'the blue star'"),
    ],
)
def test_each_anchor_is_one_thing(text: str, said: str) -> None:
    with pytest.raises(AmbiguousError, match=said):
        denote(text, SCENE)


def test_one_hop_alone() -> None:
    phrase = parse("the star in the row of the cross left of the green square")
    assert denote_first_hop(phrase, SCENE) == {1, 3, 5}  # in the row of any cross
    assert denote_last_hop(phrase, SCENE) == {1, 3, 5, 7}  # left of the green square


@pytest.mark.parametrize(
    ("text", "of_two_hops", "of_structured"),
    [
        ("the red star", "described", "described"),
        ("the star in the row of the red cross", "one hop", "row"),
        ("the star in the column of the red cross", "one hop", "column"),
        ("the star in the row of the cross below the red circle", "two hops", "row"),
        ("the topmost star below the red cross", "one hop", "beyond"),
        ("the second star from the left", "ordinal", "ordinal"),
        ("the second star from the left in the row of the red cross", "one hop", "ordinal in a line"),
        ("the lowest star in the left column", "one hop", "ordinal in a line"),
        ("the star between the red cross and the red circle", "one hop", "between"),
    ],
)
def test_kinds(text: str, of_two_hops: str, of_structured: str) -> None:
    assert kind_of(text, TWO_HOPS.name) == of_two_hops
    assert kind_of(text, "refshapes_structured") == of_structured


def test_each_image_has_four_of_two_hops_one_of_one_and_one_of_none() -> None:
    for each in COMPOSED:
        kinds = Counter(kind_of(text, TWO_HOPS.name) for ref in each.refs for text in ref.expressions)
        assert kinds == {"two hops": 4, "one hop": 1, "described": 1}
    inner = {parse(text).anchors[0].tail for _, _, text in TWICE}
    assert inner == {"row", "column", "top", "bottom", "left", "right"}


def test_scenes_have_six_rows_and_columns_of_things_that_are_apart() -> None:
    for scene in (each.scene for each in COMPOSED):
        assert 27 <= len(scene.things) <= 32
        assert len(set(places(scene))) == len(scene.things)
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            assert ((x1 - x0) * (y1 - y0)) ** 0.5 >= 14 / 96 * scene.width
        for i, one in enumerate(scene.things):
            for other in scene.things[:i]:
                assert (
                    max(abs(a - b) for a, b in zip(one.centre, other.centre, strict=True))
                    > 0.15 * scene.width
                )


def test_every_expression_is_true_of_its_referent_alone_and_reads_back() -> None:
    for scene, region, text in SPOKEN:
        assert denote(text, scene) == {region}, text
        assert str(parse(text)) == text


def test_two_hops_need_both_by_a_second_checker() -> None:
    """By places in the lattice, without the code that chose the expressions."""
    for scene, region, text in TWICE:
        head = parse(text)
        (inner,) = head.anchors
        (outer,) = inner.anchors
        assert head.tail
        assert inner.tail
        heads, inners, outers = (named(scene, phrase.what) for phrase in (head, inner, outer))
        assert len(outers) == 1
        between = related(scene, inners, inner.tail, outers)
        assert len(between) == 1
        assert related(scene, heads, head.tail, between) == {region}, text
        assert region not in outers, "what is described by itself"
        # Each shortcut leaves several things, or at least the wrong ones.
        everything = set(range(len(scene.things)))
        assert min(len(heads), len(inners)) > 1
        assert len(related(scene, everything, inner.tail, outers)) > 1
        assert len(related(scene, everything, head.tail, between)) > 1
        assert len(related(scene, heads, head.tail, inners)) > 1
        assert related(scene, heads, inner.tail, outers) != {region}
        assert related(scene, heads, head.tail, outers) != {region}


def places(scene: Scene) -> list[tuple[int, int]]:
    """Row and column of each thing."""
    return [
        (int(6 * y / scene.height), int(6 * x / scene.width)) for x, y in (t.centre for t in scene.things)
    ]


def named(scene: Scene, what: What) -> set[int]:
    words = str(what).replace("thing", "").split()
    return {i for i, thing in enumerate(scene.things) if set(words) <= {thing.colour, thing.category}}


def related(scene: Scene, things: set[int], relation: str, anchors: set[int]) -> set[int]:
    """Those of the things that have the relation to any of the anchors."""
    at = places(scene)
    holds = {
        "row": lambda a, b: a[0] == b[0],
        "column": lambda a, b: a[1] == b[1],
        "top": lambda a, b: a[0] < b[0],
        "bottom": lambda a, b: a[0] > b[0],
        "left": lambda a, b: a[1] < b[1],
        "right": lambda a, b: a[1] > b[1],
    }[relation]
    return {i for i in things if any(i != j and holds(at[i], at[j]) for j in anchors)}
