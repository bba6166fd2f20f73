"""Decides what an expression is true of, from its text and the scene alone, independently of the generator.

The generator proposes and this checker decides: an expression is kept only if `denotation` returns exactly
its referent. Where people might disagree (a star barely further left than another, a thing half on the
grass), it refuses with `AmbiguousError` instead of choosing.

Meanings: sizes and colours are absolute. Place words compare: "left star" is the leftmost of the stars, by a
clear margin, and it is in the left half. "A left of B" needs a single B; A is to its left and about level
with it, and no other A is on that side at all.
"""

from collections.abc import Callable

from s2rm.refshapes.grammar import Phrase, parse
from s2rm.refshapes.scene import Band, Region, Scene, Thing

# Margins, as shares of the image's width or height.
PLACE_MARGIN = 0.10  # to the next candidate for "left", "top"
CORNER_MARGIN = 0.20  # the same for "top left", where both coordinates add up
HALF_MARGIN = 0.03  # beyond the middle line
SIDE_MARGIN = 0.10  # between centres, for "left of"
SIDE_FALSE = 0.03  # less than this is clearly not on that side
NEXT_TRUE, NEXT_FALSE = 0.10, 0.24  # gap between boxes, for "next to"
BORDER_MARGIN = 0.03  # how far a thing on a band may extend over its border

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}


class AmbiguousError(ValueError):
    """The expression is neither clearly true nor clearly false of some region."""


def denotation(text: str, scene: Scene) -> frozenset[int]:
    """Return the indices in `scene.regions` of which the expression is true.

    Raises:
        grammar.UnintelligibleError: the text has words or an order that the checker does not know.
        AmbiguousError: it might be true of a region, or its inner "the ..." has not exactly one referent.
    """
    return _denote(parse(text), scene)


def _denote(phrase: Phrase, scene: Scene) -> frozenset[int]:
    found = [index for index, region in enumerate(scene.regions) if _has_attributes(phrase, region)]
    if phrase.ground:
        found = [index for index in found if _is_on(scene.regions[index], phrase.ground, scene)]
    if phrase.relation and found:
        anchors = _denote(phrase.relation.anchor, scene)
        if len(anchors) != 1:
            raise AmbiguousError(f"{len(anchors)} regions could be what something is {phrase.relation.name}")
        (anchor,) = anchors
        holds = _next_to if phrase.relation.name == "next to" else _side(phrase.relation.name)
        found = [
            index
            for index in found
            if index != anchor and holds(_normalised(index, scene), _normalised(anchor, scene))
        ]
    if phrase.places and found:
        found = [_placed(phrase.places, phrase.extreme, found, scene)]
    return frozenset(found)


def _has_attributes(phrase: Phrase, region: Region) -> bool:
    if isinstance(region, Band):
        return region.category in phrase.categories and not (phrase.colour or phrase.size or phrase.shirt)
    assert isinstance(region, Thing)
    return (
        (region.category in phrase.categories)
        and phrase.colour in (None, region.colour)
        and phrase.size in (None, region.size)
        and (phrase.shirt is None or (region.is_person and region.colour == phrase.shirt))
    )


Box = tuple[float, float, float, float]


def _normalised(index: int, scene: Scene) -> Box:
    x0, y0, x1, y1 = scene.regions[index].box
    return x0 / scene.width, y0 / scene.height, x1 / scene.width, y1 / scene.height


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _is_on(region: Region, ground: str, scene: Scene) -> bool:
    """Return whether the region is on a band of that kind; `AmbiguousError` if it straddles its border."""
    if isinstance(region, Band):
        return False
    inside = False
    for band in scene.bands:
        if band.category != ground:
            continue
        margin = BORDER_MARGIN * scene.height
        (_, top, _, bottom), (_, high, _, low) = region.box, band.box
        if low <= top + margin or high >= bottom - margin:
            continue
        if top < high - margin or bottom > low + margin:
            raise AmbiguousError(f"a region is only partly on the {ground}")
        inside = True
    return inside


def _side(direction: str) -> Callable[[Box, Box], bool]:
    """Return a test whether a box is clearly on that side of another; `AmbiguousError` where unclear."""

    def holds(box: Box, anchor: Box) -> bool:
        (x, y), (anchor_x, anchor_y), (dx, dy) = _centre(box), _centre(anchor), DIRECTIONS[direction]
        along = (x - anchor_x) * dx + (y - anchor_y) * dy
        across = abs((x - anchor_x) * dy) + abs((y - anchor_y) * dx)
        if along <= SIDE_FALSE:
            return False
        if along >= SIDE_MARGIN and across <= 0.9 * along:
            return True
        raise AmbiguousError(f"a region is neither clearly {direction} of another nor clearly not")

    return holds


def _next_to(box: Box, anchor: Box) -> bool:
    across = max(box[0] - anchor[2], anchor[0] - box[2], 0.0)
    down = max(box[1] - anchor[3], anchor[1] - box[3], 0.0)
    gap = (across**2 + down**2) ** 0.5
    if NEXT_TRUE < gap < NEXT_FALSE:
        raise AmbiguousError("a region is neither clearly next to another nor clearly apart from it")
    return gap <= NEXT_TRUE


def _placed(places: tuple[str, ...], extreme: bool, found: list[int], scene: Scene) -> int:
    """Return the one candidate that the place words select."""
    centres = {index: _centre(_normalised(index, scene)) for index in found}
    if places == ("middle",):
        return _middle(centres)
    dx, dy = (sum(DIRECTIONS[place][axis] for place in places) for axis in (0, 1))
    if any(isinstance(scene.regions[index], Band) for index in found) and dx:
        raise AmbiguousError("a band spans the whole width: it is not on a side")
    scores = sorted(((x * dx + y * dy, index) for index, (x, y) in centres.items()), reverse=True)
    margin = PLACE_MARGIN if len(places) == 1 else CORNER_MARGIN
    if len(scores) > 1 and scores[0][0] - scores[1][0] < margin:
        raise AmbiguousError(f"two regions are about as far to the {' '.join(places)}")
    best = scores[0][1]
    x, y = centres[best]
    if not extreme and not all(
        (x - 0.5) * DIRECTIONS[place][0] + (y - 0.5) * DIRECTIONS[place][1] >= HALF_MARGIN for place in places
    ):
        raise AmbiguousError(f"the best candidate for {' '.join(places)} is not in that half of the image")
    return best


def _middle(centres: dict[int, tuple[float, float]]) -> int:
    distances = sorted((((x - 0.5) ** 2 + (y - 0.5) ** 2) ** 0.5, index) for index, (x, y) in centres.items())
    if distances[0][0] > 0.16 or (len(distances) > 1 and distances[1][0] - distances[0][0] < 0.16):
        raise AmbiguousError("no region is clearly the one in the middle")
    return distances[0][1]
