"""The checker on scenes built by hand: what it accepts, what it refuses."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2rm.refshapes.grammar import UnintelligibleError, parse
from s2rm.refshapes.outline import box_of, outline
from s2rm.refshapes.scene import Band, Scene, Thing
from s2rm.refshapes.semantics import AmbiguousError, denotation


def thing(words, x, y):
    """A thing of a 200×200 image: thing("big red star", x, y)."""
    size, colour, category = words.split()
    parts = outline(category, {"small": 30.0, "big": 60.0}[size], 0.0, (x, y))
    return Thing(category, box_of(parts), colour, size, parts)


def scene(*things):
    bands = (Band("sky", (0, 0, 200, 100), 0.0), Band("grass", (0, 100, 200, 200), 0.0))
    return Scene(200, 200, things, bands)


STARS = scene(
    thing("small red star", 30, 50), thing("small red star", 160, 60), thing("big blue star", 100, 150)
)


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ("star", {0, 1, 2}),
        ("the red star", {0, 1}),
        ("red", {0, 1}),
        ("left star", {0}),
        ("red star on the right", {1}),
        ("rightmost star", {1}),
        ("big one", {2}),
        ("large blue star at the bottom", {2}),
        ("star on the grass", {2}),
        ("star in the sky", {0, 1}),
        ("upper left one", {0}),
        ("star in the sky on the left", {0}),
        ("circle", set()),
        ("green star", set()),
        ("red star to the right of the left red star", {1}),
        ("the sky", {3}),
        ("grass at the bottom", {4}),
        ("bottom grass", {4}),
    ],
)
def test_denotations(text, regions):
    assert denotation(text, STARS) == regions


def test_persons_are_identified_by_what_they_wear():
    people = scene(thing("big red person", 40, 60), thing("big blue person", 150, 60))
    for text in ("person in red", "guy wearing red shirt", "red shirt", "man in a red shirt", "left figure"):
        assert denotation(text, people) == {0}, text


@pytest.mark.parametrize(
    ("relation", "holds"),
    [("above", False), ("below", True), ("to the left of", False), ("next to", False)],
)
def test_relations(relation, holds):
    pair = scene(thing("small red star", 100, 160), thing("small blue circle", 105, 60))
    assert denotation(f"star {relation} the blue circle", pair) == ({0} if holds else set())


@pytest.mark.parametrize(
    "text",
    [
        "left star",  # two are equally far to the left
        "star in the middle",  # none is
        "top star",  # the topmost lies in the lower half
        "star to the left of the circle",  # which circle?
        "star to the left of the blue circle",  # diagonal
        "star in the sky",  # half on the grass
        "left sky",  # bands run over the whole width
    ],
)
def test_ambiguity_is_refused(text):
    crowded = scene(
        thing("small red star", 30, 104),
        thing("small red star", 35, 170),
        thing("small blue circle", 90, 30),
        thing("small red circle", 170, 30),
    )
    with pytest.raises(AmbiguousError):
        denotation(text, crowded)


@pytest.mark.parametrize(
    "text",
    [
        "", "the", "zebra", "star and circle", "star on", "star left left", "left right star",
        "red blue star", "far star", "star that is", "left middle star", "person in", "Star",
        "star left of", "left of the star", "star of the left",
    ],
)  # fmt: skip
def test_unknown_text_is_refused(text):
    with pytest.raises(UnintelligibleError):
        parse(text)


WORDS = (
    "the",
    "a",
    "small",
    "red",
    "left",
    "top",
    "star",
    "one",
    "in",
    "on",
    "of",
    "to",
    "sky",
    "next",
    "shirt",
)


@given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_any_words_are_read_or_refused(words):
    with suppress(UnintelligibleError, AmbiguousError):
        assert denotation(" ".join(words), STARS) <= set(range(5))
