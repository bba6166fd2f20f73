"""The language of the structured partitions: a phrase as data, its text, and a parser.

[] marks optional parts:

    phrase = [the] [rank] what [from the side] [tail]      "the second red thing from the left"
    rank   = first | second | third | fourth | fifth       with "from the side"
           | leftmost | rightmost | topmost | lowest       without
    what   = [colour] (shape | thing)
    tail   = in the (row | column) of anchor               "the star in the row of the red cross"
           | in the (top | bottom) row | in the (left | right) column
           | (above | below | left of | right of) anchor
           | between anchor and anchor
    anchor = a phrase that begins with "the"               "the cross below the red circle"

A tail belongs to the nearest phrase: in "the star in the row of the cross below the red circle", the cross is
below the circle.
"""

from dataclasses import dataclass

from s2rm.refshapes.grammar import TokenReader, UnintelligibleError
from s2rm.refshapes.structured_scene import COLOURS, SHAPES

ORDINALS = ("first", "second", "third", "fourth", "fifth")
EXTREMES = {"leftmost": "left", "rightmost": "right", "topmost": "top", "lowest": "bottom"}
ANCHORED: dict[tuple[str, ...], str] = {  # the words of a tail → its name; an anchor follows
    ("in", "the", "row", "of"): "row",
    ("in", "the", "column", "of"): "column",
    ("above",): "top",
    ("below",): "bottom",
    ("left", "of"): "left",
    ("right", "of"): "right",
    ("between",): "between",  # two anchors
}
OUTER_LINES: dict[tuple[str, ...], str] = {  # the same for tails without an anchor
    ("in", "the", "top", "row"): "top row",
    ("in", "the", "bottom", "row"): "bottom row",
    ("in", "the", "left", "column"): "left column",
    ("in", "the", "right", "column"): "right column",
}


@dataclass(frozen=True)
class What:
    """The attributes that a phrase mentions."""

    colour: str | None = None
    shape: str | None = None  # None: "thing"

    def __str__(self) -> str:
        return f"{self.colour or ''} {self.shape or 'thing'}".strip()


@dataclass(frozen=True)
class StructuredPhrase:
    """A phrase as data; `str` gives its text."""

    what: What
    rank: int | None = None  # 1 = first, counted from `side`
    side: str | None = None  # left | right | top | bottom
    tail: str | None = None  # a value of ANCHORED or OUTER_LINES
    anchors: tuple["StructuredPhrase", ...] = ()

    def __str__(self) -> str:
        words = [str(self.what)]
        if self.rank == 1:
            words.insert(0, next(word for word, side in EXTREMES.items() if side == self.side))
        elif self.rank:
            words = [ORDINALS[self.rank - 1], *words, f"from the {self.side}"]
        if self.tail:
            words += next(words for words, name in {**ANCHORED, **OUTER_LINES}.items() if name == self.tail)
            words.append(" and ".join(map(str, self.anchors)))
        return " ".join(["the", *words]).strip()


def parse(text: str) -> StructuredPhrase:
    """Read the whole text as one phrase.

    Raises:
        UnintelligibleError: the text is not in the grammar.
    """
    parser = _Parser(text)
    phrase = parser.phrase()
    parser.finish()
    return phrase


class _Parser(TokenReader):
    def what(self) -> What:
        colour, shape = self.one_of(COLOURS), self.one_of((*SHAPES, "thing"))
        if shape is None:
            raise UnintelligibleError(f"a shape or 'thing' is missing before {' '.join(self.rest)!r}")
        return What(colour, None if shape == "thing" else shape)

    def anchor(self) -> StructuredPhrase:
        if self.rest[:1] != ["the"]:
            raise UnintelligibleError(f"'the' is missing before {' '.join(self.rest)!r}")
        return self.phrase()

    def phrase(self) -> StructuredPhrase:
        self.take("the")
        extreme, ordinal = self.one_of(EXTREMES), self.one_of(ORDINALS)
        what = self.what()
        rank, side = (1, EXTREMES[extreme]) if extreme else (None, None)
        if ordinal:
            rank = ORDINALS.index(ordinal) + 1
            side = self.one_of(EXTREMES.values()) if self.take("from", "the") else None
            if side is None or extreme:
                raise UnintelligibleError(f"{ordinal!r} needs a side to count from, and no second rank")
        for words, line in OUTER_LINES.items():
            if self.take(*words):
                return StructuredPhrase(what, rank, side, line)
        for words, tail in ANCHORED.items():
            if self.take(*words):
                anchors = [self.anchor()]
                if tail == "between":
                    if not self.take("and"):
                        raise UnintelligibleError("'between' needs two anchors, joined by 'and'")
                    anchors.append(self.anchor())
                return StructuredPhrase(what, rank, side, tail, tuple(anchors))
        return StructuredPhrase(what, rank, side)
