"""Kinds of words in an expression, by a committed list of words. English, and simple on purpose.

An expression may have several kinds, or none. No list finds every case: "right" is a side in "right man" and
none in "the man right behind her".
"""

import re
from collections.abc import Mapping

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")

_WORDS: Mapping[str, str] = {
    "location": (
        "left right top bottom upper lower middle center centre corner side leftmost rightmost topmost "
        "bottommost uppermost lowest highest edge far near nearest closest front back background foreground "
        "above below up down"
    ),
    "ordinal": (
        "first second third fourth fifth sixth seventh eighth ninth tenth last 1st 2nd 3rd 4th 5th 6th"
    ),
    "number": "one two three four five six seven eight nine ten 2 3 4 5 6 7 8 9",
    "colour": (
        "red green blue yellow black white brown gray grey orange purple pink tan beige silver gold golden "
        "maroon teal turquoise violet dark light blond blonde colored coloured"
    ),
    "size": "big small large little tiny huge tall short long wide thin fat giant tallest biggest smallest",
    "negation": "not no without nothing none isn't doesn't don't aren't cannot nobody except",
    "comparison": (
        "than more less most least bigger smaller larger taller shorter closer closest nearest farther "
        "farthest further furthest older younger darker lighter longer higher lower largest biggest smallest "
        "tallest shortest longest oldest youngest darkest lightest brightest same"
    ),
    "other": "other another others",
}
_PHRASES: Mapping[str, str] = {
    "relation": (
        r"next to|beside|besides|behind|in front of|on top of|under|underneath|beneath|between|near|nearest|"
        r"close to|closest to|against|by the|by a|opposite|across from|around|inside|outside|left of|"
        r"right of|above|below|beyond|over|facing|in the (?:row|column)|among"
    ),
    "attachment": (
        r"with|wearing|holding|carrying|has|having|in (?:a|an|the)? ?(?:\w+ )?(?:shirt|dress|hat|jacket|coat|"
        r"suit|pants|jeans|cap|shorts|sweater|tie|uniform)"
    ),
}

KINDS: tuple[str, ...] = (*_WORDS, *_PHRASES)
POSITION = ("location", "ordinal")  # kinds that need the place in the image
_LISTS = {kind: frozenset(words.split()) for kind, words in _WORDS.items()}
_PATTERNS = {kind: re.compile(rf"\b(?:{phrases})\b") for kind, phrases in _PHRASES.items()}


def find_kinds(expression: str) -> frozenset[str]:
    """Return the kinds of words in an expression, of `KINDS`."""
    text = expression.lower()
    words = WORD.findall(text)
    found = {kind for kind, listed in _LISTS.items() if not listed.isdisjoint(words)}
    return frozenset(found | {kind for kind, pattern in _PATTERNS.items() if pattern.search(text)})


def count_words(expression: str) -> int:
    """Return the number of words."""
    return len(WORD.findall(expression.lower()))
