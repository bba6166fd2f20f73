"""The lexicon against the kinds that RefShapes draws, and against counts on real expressions."""

import pickle
from pathlib import Path

import pytest

from s2rm.refshapes.expression_kinds import kind_of
from s2rm.scoring.lexicon import KINDS, count_words, find_kinds

STRUCTURED = {  # RefShapes' kind → an expression, and what the lexicon must find
    "described": ("the yellow cross", {"colour"}),
    "row": ("the circle in the row of the blue square", {"colour", "relation"}),
    "column": ("the green thing in the column of the red star", {"colour", "relation"}),
    "between": ("the red cross between the blue cross and the blue star", {"colour", "relation"}),
    "beyond": ("the rightmost star left of the blue circle", {"colour", "location", "relation"}),
    "ordinal": ("the third yellow thing from the right", {"colour", "location", "ordinal"}),
    "ordinal in a line": (
        "the second thing from the bottom in the column of the yellow cross",
        {"colour", "location", "ordinal", "relation"},
    ),
}


@pytest.mark.parametrize("kind", STRUCTURED)
def test_kinds_that_are_drawn(kind: str) -> None:
    expression, wanted = STRUCTURED[kind]
    assert kind_of(expression, "refshapes_structured") == kind
    assert find_kinds(expression) == wanted


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("Left man", {"location"}),
        ("LEFTMOST", {"location"}),
        ("second from top", {"location", "ordinal"}),
        ("the not so big one", {"negation", "number", "size"}),
        ("taller than the other", {"comparison", "other"}),
        ("guy wearing a hat", {"attachment"}),
        ("woman in red shirt", {"attachment", "colour"}),
        ("dog", set()),
        ("", set()),
        ("snow", set()),  # no `no`
        ("the man isn't sitting", {"negation"}),
    ],
)
def test_examples(expression: str, kinds: set[str]) -> None:
    assert find_kinds(expression) == kinds
    assert kinds <= set(KINDS)


def test_words() -> None:
    assert [count_words(text) for text in ("", "dog", "the man's dog, left", "a-b")] == [0, 1, 4, 2]


# Shares on the complete val, testA and testB of RefCOCO (21,586 expressions), counted on the published lists.
REAL = {"location": 0.635, "colour": 0.241, "ordinal": 0.044, "negation": 0.010, "relation": 0.084}


@pytest.mark.real
def test_shares_of_real_expressions(real_data: Path) -> None:
    """Within three standard deviations of a sample of that size."""
    refs = pickle.loads((real_data / "refcoco" / "refs(unc).p").read_bytes())
    texts = [sentence["sent"] for ref in refs for sentence in ref["sentences"]]
    for kind, share in REAL.items():
        found = sum(kind in find_kinds(text) for text in texts) / len(texts)
        assert abs(found - share) < 3 * (share * (1 - share) / len(texts)) ** 0.5 + 0.01, kind
