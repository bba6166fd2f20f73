"""The language of RefShapes: its grammar, and a parser.

[] marks optional parts, * any number of repetitions:

    phrase   = [the | a | an] adjective* [noun] modifier* [relation]
    adjective = size | colour | place
    modifier = "in" colour ["shirt"] | "wearing" colour | "on [the]" place ["side"]
             | "in" / "on" "the" background
    relation = ["that is" | "standing" | ...] ("left of" | "above" | "next to" | ...) phrase
"""

from collections.abc import Container
from dataclasses import dataclass

from s2rm.refshapes.scene import BACKGROUNDS, COLOURS, SHAPES

# word → its meaning; the words are those that the phrases are made of
SIZES = {"small": "small", "little": "small", "tiny": "small", "big": "big", "large": "big"}
PLACES = {
    "left": "left", "right": "right", "top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom",
    "middle": "middle", "center": "middle",
}  # fmt: skip
PLACINGS = {  # the combinations of place words that make sense
    (), ("left",), ("right",), ("top",), ("bottom",), ("middle",),
    ("top", "left"), ("top", "right"), ("bottom", "left"), ("bottom", "right"),
}  # fmt: skip
EXTREMES = {"leftmost": "left", "rightmost": "right", "topmost": "top", "lowest": "bottom"}
PERSONS = ("person", "man", "guy", "figure")
NOUNS: dict[str, tuple[str, ...]] = {
    **{shape: (shape,) for shape in SHAPES},
    **dict.fromkeys(PERSONS, ("person",)),
    **{background: (background,) for background in BACKGROUNDS},
    "disc": ("circle",), "box": ("square",), "plus": ("cross",),
    "shape": SHAPES, "thing": (*SHAPES, "person"), "one": (*SHAPES, "person"),
    "water": ("sea",), "ocean": ("sea",), "beach": ("sand",), "lawn": ("grass",), "street": ("road",),
}  # fmt: skip
ANYTHING = (*SHAPES, "person")  # what a phrase without a noun, as "left red", may refer to
GARMENTS = ("shirt", "clothes")
ARTICLES = ("the", "a", "an")
# Words that only introduce a modifier or a relation.
LINKS = (
    ("that", "is"), ("which", "is"), ("who", "is"), ("standing",), ("located",), ("placed",), ("directly",),
)  # fmt: skip
RELATIONS = {
    ("to", "the", "left", "of"): "left", ("on", "the", "left", "of"): "left", ("left", "of"): "left",
    ("on", "the", "left", "side", "of"): "left",
    ("to", "the", "right", "of"): "right", ("on", "the", "right", "of"): "right", ("right", "of"): "right",
    ("on", "the", "right", "side", "of"): "right",
    ("above",): "top", ("over",): "top",
    ("below",): "bottom", ("under",): "bottom", ("beneath",): "bottom",
    ("next", "to"): "next to", ("beside",): "next to", ("close", "to"): "next to",
}  # fmt: skip
# Looked up by the first word, as few words begin one.
LINKS_FROM = {first: [words for words in LINKS if words[0] == first] for first, *_ in LINKS}
RELATIONS_FROM = {first: [words for words in RELATIONS if words[0] == first] for first, *_ in RELATIONS}
PREPOSITIONS = ("on", "in", "at", "to")


class UnintelligibleError(ValueError):
    """The text is not in the grammar."""


@dataclass(frozen=True)
class Relation:
    """A relation to an anchor."""

    name: str  # left | right | top | bottom | next to
    anchor: "Phrase"


@dataclass
class Phrase:
    """A parsed phrase: conditions that all must hold, then the place words, which compare."""

    categories: tuple[str, ...] = ANYTHING
    colour: str | None = None
    size: str | None = None
    shirt: str | None = None  # colour of what a person wears
    ground: str | None = None  # the kind of background that it is on
    places: tuple[str, ...] = ()
    extreme: bool = False  # "leftmost": in whichever half of the image
    relation: Relation | None = None


class TokenReader:
    """Reads a text word by word: the base of a parser of a small language.

    Args:
        text: words separated by white space.

    Attributes:
        rest: the words that have not been read yet.
    """

    def __init__(self, text: str) -> None:
        self.text, self.rest = text, text.split()

    def take(self, *words: str) -> bool:
        """Consume these words if the text continues with them; return whether it does."""
        if tuple(self.rest[: len(words)]) == words:
            self.rest = self.rest[len(words) :]
            return True
        return False

    def one_of(self, words: Container[str]) -> str | None:
        """Consume and return the next word if it is one of these, else return None."""
        return self.rest.pop(0) if self.rest and self.rest[0] in words else None

    def finish(self) -> None:
        """Check that the whole text has been read.

        Raises:
            UnintelligibleError: words are left.
        """
        if self.rest:
            raise UnintelligibleError(f"cannot read {' '.join(self.rest)!r} in {self.text!r}")


def parse(text: str) -> Phrase:
    """Read the whole text as one phrase.

    Raises:
        UnintelligibleError: the text is not in the grammar.
    """
    parser = _Parser(text)
    phrase = parser.phrase()
    parser.finish()
    return phrase


class _Parser(TokenReader):
    def phrase(self) -> Phrase:
        phrase = Phrase()
        self.one_of(ARTICLES)
        start = len(self.rest)
        self._adjectives(phrase)
        if noun := self.one_of(NOUNS):
            phrase.categories = NOUNS[noun]
        elif phrase.colour and self.take("shirt"):  # "red shirt": the person who wears it
            phrase.shirt, phrase.colour, phrase.categories = phrase.colour, None, ("person",)
        if len(self.rest) == start:
            raise UnintelligibleError(f"a phrase cannot begin with {' '.join(self.rest)!r}")
        while self._modifier(phrase):
            pass
        if phrase.places not in PLACINGS or (phrase.extreme and "middle" in phrase.places):
            raise UnintelligibleError(f"{' '.join(phrase.places)!r} is not a valid place")
        return phrase

    def _adjectives(self, phrase: Phrase) -> None:
        while self.rest and not self._at_relation():
            if self.take("far"):
                phrase.extreme = True
                if not self.rest or self.rest[0] not in PLACES:
                    raise UnintelligibleError("'far' without a side")
            elif word := self.one_of(SIZES):
                phrase.size = _only(phrase.size, SIZES[word])
            elif word := self.one_of(COLOURS):
                phrase.colour = _only(phrase.colour, word)
            elif word := self.one_of(PLACES):
                phrase.places = (*phrase.places, PLACES[word])
            elif word := self.one_of(EXTREMES):
                phrase.places, phrase.extreme = (*phrase.places, EXTREMES[word]), True
            else:
                return

    def _at_relation(self) -> bool:
        starting = RELATIONS_FROM.get(self.rest[0], ())
        return any(tuple(self.rest[: len(words)]) == words for words in starting)

    def _modifier(self, phrase: Phrase) -> bool:
        linked = False
        while self.rest and any(self.take(*words) for words in LINKS_FROM.get(self.rest[0], ())):
            linked = True
        if relation := self._relation():
            if phrase.relation:
                raise UnintelligibleError("two relations")
            phrase.relation = relation
            return True
        if self.take("wearing"):
            phrase.shirt = _only(phrase.shirt, self._clothes())
            return True
        if self.rest and self.rest[0] in PREPOSITIONS:
            self.rest = self.rest[1:]
            self._after_preposition(phrase)
            return True
        if linked:
            raise UnintelligibleError(f"nothing follows a link word: {' '.join(self.rest)!r}")
        return False

    def _relation(self) -> Relation | None:
        for words in RELATIONS_FROM.get(self.rest[0], ()) if self.rest else ():
            if self.take(*words):
                return Relation(RELATIONS[words], self.phrase())
        return None

    def _after_preposition(self, phrase: Phrase) -> None:
        if self.rest and (self.rest[0] in COLOURS or self.rest[0] == "a"):
            phrase.shirt = _only(phrase.shirt, self._clothes())
            return
        self.take("the")
        if self.take("far"):
            phrase.extreme = True
        places = []
        while word := self.one_of(PLACES):
            places.append(PLACES[word])
        if places:
            phrase.places = (*phrase.places, *places)
            self.one_of(("side", "corner"))
            return
        noun = self.one_of(NOUNS)
        if noun is None or NOUNS[noun][0] not in BACKGROUNDS:
            raise UnintelligibleError("a preposition needs a place, a colour or a background")
        phrase.ground = _only(phrase.ground, NOUNS[noun][0])

    def _clothes(self) -> str:
        _ = self.take("a") or self.take("an")
        colour = self.one_of(COLOURS)
        if colour is None:
            raise UnintelligibleError("clothes without a colour")
        self.one_of(GARMENTS)
        return colour


def _only(known: str | None, word: str) -> str:
    if known is not None:
        raise UnintelligibleError(f"{known!r} and {word!r} in one phrase")
    return word
