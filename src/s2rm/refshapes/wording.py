"""Proposes expressions for a referent, in the style of each benchmark.

Proposals may be false or ambiguous: `semantics` decides. They vary in their words (guy, man, person) and in
what they mention, and tend to be short, as people's are.
"""

from collections.abc import Callable
from random import Random

from s2rm.refshapes.scene import Band, Region, Scene, Thing

Proposer = Callable[[Random, Scene, int], str]

NAMES = {
    "circle": ("circle", "circle", "disc"),
    "square": ("square", "square", "box"),
    "cross": ("cross", "cross", "plus"),
    "person": ("person", "man", "guy", "figure"),
    "sea": ("sea", "water", "ocean"),
    "sand": ("sand", "sand", "beach"),
    "grass": ("grass", "grass", "lawn"),
    "road": ("road", "street"),
}
SIZE_WORDS = {"small": ("small", "small", "little"), "big": ("big", "big", "large")}
PLACES_BEFORE = {
    "left": ("left", "left", "leftmost", "far left"),
    "right": ("right", "right", "rightmost", "far right"),
    "top": ("top", "upper"),
    "bottom": ("bottom", "lower"),
    "middle": ("middle", "center"),
    "top left": ("top left", "upper left"),
    "top right": ("top right", "upper right"),
    "bottom left": ("bottom left", "lower left"),
    "bottom right": ("bottom right", "lower right"),
}
PLACES_AFTER = {
    "left": ("on left", "on the left", "on the left side"),
    "right": ("on right", "on the right", "on the right side"),
    "top": ("at the top", "on top", "at top"),
    "bottom": ("at the bottom", "on bottom", "at bottom"),
    "middle": ("in the middle", "in middle", "in the center"),
    "top left": ("at top left", "in the top left corner"),
    "top right": ("at top right", "in the top right corner"),
    "bottom left": ("at bottom left", "in the bottom left corner"),
    "bottom right": ("at bottom right", "in the bottom right corner"),
}
GROUND_PREPOSITIONS = {"sky": "in", "sea": "in"}  # "on" for the others
RELATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "umd": {
        "left": ("to the left of", "left of"),
        "right": ("to the right of", "right of"),
        "top": ("above",),
        "bottom": ("below", "under"),
        "next to": ("next to", "beside"),
    },
    "google": {
        "left": ("on the left of", "on the left side of"),
        "right": ("on the right of", "on the right side of"),
        "top": ("above", "over"),
        "bottom": ("below", "beneath"),
        "next to": ("next to", "close to"),
    },
}
ARTICLES = {"umd": ("the", "the", "a"), "google": ("a", "the", "")}
LINKS: dict[str, dict[str, tuple[str, ...]]] = {
    "umd": {"thing": ("", "", "that is", "placed"), "person": ("", "standing", "who is")},
    "google": {"thing": ("", "which is", "located", "that is"), "person": ("", "that is standing")},
}


def _name(rng: Random, region: Region) -> str:
    return rng.choice(NAMES.get(region.category, (region.category,)))


def _attributes(rng: Random, thing: Thing, colour: bool, size: bool, noun: bool) -> tuple[str, str]:
    """Return the words before and after a place word: ("small", "star") → "small left star"."""
    sizes = rng.choice(SIZE_WORDS[thing.size]) if size else ""
    if not thing.is_person:
        return f"{sizes} {thing.colour if colour else ''}", _name(rng, thing) if noun else "one"
    if not colour:
        return sizes, _name(rng, thing)
    if not (size or noun):
        return "", f"{thing.colour} shirt"
    wearing = rng.choice(("in", "in", "wearing"))
    return sizes, f"{_name(rng, thing)} {wearing} {thing.colour}{rng.choice(('', '', ' shirt'))}"


def _tidy(*words: str) -> str:
    return " ".join(" ".join(words).split())


def propose_refcoco(rng: Random, scene: Scene, index: int) -> str:
    """Propose a short expression that may use place words: "left red star", "guy in blue on the right"."""
    thing = _thing(scene, index)
    before, after = _attributes(rng, thing, rng.random() < 0.5, rng.random() < 0.2, rng.random() < 0.85)
    way = rng.random()
    if way < 0.3:
        return _article(rng, _tidy(before, after))
    if way < 0.4:
        return _article(rng, _tidy(before, after, _ground(rng, scene)))
    place = _place(rng, scene, index)
    if way < 0.7:
        return _tidy(rng.choice(PLACES_BEFORE[place]), before, after)
    return _tidy(before, after, rng.choice(PLACES_AFTER[place]))


def propose_refcoco_plus(rng: Random, scene: Scene, index: int) -> str:
    """Propose an expression of appearance only: "small red star", "person in blue"."""
    thing = _thing(scene, index)
    attributes = _attributes(rng, thing, rng.random() < 0.8, rng.random() < 0.5, rng.random() < 0.9)
    return _article(rng, _tidy(*attributes))


def propose_referit(rng: Random, scene: Scene, index: int) -> str:
    """Propose a short phrase for a thing or for the background: "sky", "grass at the bottom"."""
    region = scene.regions[index]
    if isinstance(region, Thing):
        return propose_refcoco(rng, scene, index)
    place, name = rng.choice(_sides(scene, region)[1:]), _name(rng, region)
    return rng.choice(
        (name, name, f"the {name}", f"{name} {rng.choice(PLACES_AFTER[place])}", f"{place} {name}")
    )


def propose_relational(rng: Random, scene: Scene, index: int, phrasing: str) -> str:
    """Propose a sentence that identifies the referent by its relation to another thing (RefCOCOg)."""
    thing = _thing(scene, index)
    others = [other for other in scene.things if other is not thing]
    # A twin is not a good anchor: there must be only one "blue square".
    anchor = rng.choice([other for other in others if not scene.has_twin(other)] or others)
    relation = _direction(rng, scene, thing, anchor)
    return _tidy(
        _with_article(rng.choice(ARTICLES[phrasing]), _full_name(rng, thing)),
        rng.choice(LINKS[phrasing]["person" if thing.is_person else "thing"]),
        rng.choice(RELATIONS[phrasing][relation]),
        _with_article("the" if phrasing == "umd" else rng.choice(("the", "a")), _full_name(rng, anchor)),
    )


def propose_described(rng: Random, scene: Scene, index: int, phrasing: str) -> str:
    """Propose a sentence whose attributes alone may suffice: "the small red circle in the sky" (RefCOCOg)."""
    thing = _thing(scene, index)
    words = _with_article(rng.choice(ARTICLES[phrasing]), _full_name(rng, thing))
    if rng.random() < 0.5:
        return words
    link = rng.choice(LINKS[phrasing]["person" if thing.is_person else "thing"])
    return _tidy(words, link, _ground(rng, scene))


def _full_name(rng: Random, thing: Thing) -> str:
    """Return a name, mostly with the colour, as in long descriptions, and always with a noun."""
    return _tidy(*_attributes(rng, thing, rng.random() < 0.85, rng.random() < 0.5, noun=True))


def _with_article(article: str, words: str) -> str:
    return _tidy("an" if article == "a" and words[0] in "aeiou" else article, words)


def _ground(rng: Random, scene: Scene) -> str:
    band: Band = rng.choice(scene.bands)
    return f"{GROUND_PREPOSITIONS.get(band.category, 'on')} the {_name(rng, band)}"


def _sides(scene: Scene, region: Region) -> tuple[str, str, str]:
    """Return the horizontal and the vertical half of the image that the region is in, and "middle"."""
    x, y = region.centre
    return "left" if x < scene.width / 2 else "right", "top" if y < scene.height / 2 else "bottom", "middle"


def _place(rng: Random, scene: Scene, index: int) -> str:
    across, down, middle = _sides(scene, scene.regions[index])
    return rng.choice((across, across, down, down, f"{down} {across}", middle))


def _direction(rng: Random, scene: Scene, thing: Thing, anchor: Thing) -> str:
    """Return on which side of the anchor the thing mainly is; sometimes just "next to"."""
    if rng.random() < 0.2:
        return "next to"
    (x, y), (anchor_x, anchor_y) = thing.centre, anchor.centre
    dx, dy = (x - anchor_x) / scene.width, (y - anchor_y) / scene.height
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "top" if dy < 0 else "bottom"


def _article(rng: Random, words: str) -> str:
    return f"the {words}" if rng.random() < 0.2 else words


def _thing(scene: Scene, index: int) -> Thing:
    return scene.things[index]


def as_typed(rng: Random, sent: str) -> str:
    """Return the `raw` sentence: as a person may type it, before REFER's cleaning."""
    text = sent[0].upper() + sent[1:] if rng.random() < 0.3 else sent
    return f"{text}." if rng.random() < 0.25 else text
