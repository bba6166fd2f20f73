"""Composes image i of a split: its scene and its refs, each expression checked against the scene.

All randomness of an image comes from (seed, benchmark, split, index), so any image can be reproduced on its
own, whatever else is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from random import Random

from s2rm.config.benchmarks import STRUCTURED, TWO_HOPS
from s2rm.refshapes.scene import Cast, Scene, Thing, sample_scene
from s2rm.refshapes.semantics import AmbiguousError, denotation
from s2rm.refshapes.structured_composition import compose_structured
from s2rm.refshapes.two_hops_composition import compose_two_hops
from s2rm.refshapes.wording import (
    Proposer,
    propose_described,
    propose_refcoco,
    propose_refcoco_plus,
    propose_referit,
    propose_relational,
)

_TRIES = 32  # proposals per referent
_ON_LATTICES = {STRUCTURED.name: compose_structured, TWO_HOPS.name: compose_two_hops}
_PHRASINGS = {"refcocog_umd": "umd", "refcocog_google": "google"}


@dataclass(frozen=True)
class Referred:
    """A ref: the region that is referred to, as its index in `scene.regions`, and its expressions."""

    region: int
    expressions: tuple[str, ...]


@dataclass(frozen=True)
class Composition:
    """A scene and its refs."""

    scene: Scene
    refs: tuple[Referred, ...]


def random_of(seed: int, benchmark: str, split: str, index: int, purpose: str) -> Random:
    """Return a random generator of its own for each purpose, so that drawing does not change the wording."""
    return Random(f"{seed}/{benchmark}/{split}/{index}/{purpose}")


def compose(seed: int, benchmark: str, split: str, index: int) -> Composition:
    """Compose the scene and the refs of one image.

    Args:
        seed: the seed of the whole data set.
        benchmark: the benchmark's name.
        split: one of its splits.
        index: the image's number in the split.
    """
    rng = random_of(seed, benchmark, split, index, "scene")
    if benchmark in _ON_LATTICES:
        scene, spoken = _ON_LATTICES[benchmark](rng)
        by_referent: dict[int, list[str]] = {}
        for region, text in spoken:
            by_referent.setdefault(region, []).append(text)
        return Composition(
            scene, tuple(Referred(region, tuple(texts)) for region, texts in by_referent.items())
        )
    while True:
        scene = sample_scene(rng, _cast(rng, benchmark, split))
        refs = tuple(_refer(rng, scene, benchmark, split))
        if len(refs) >= 2:
            return Composition(scene, refs)


def _cast(rng: Random, benchmark: str, split: str) -> Cast:
    people = {"testA": 1.0, "testB": 0.0}.get(split, 0.5 if benchmark.startswith("refcoco_") else 0.35)
    twins = rng.choice((1, 2, 2) if benchmark in _PHRASINGS else (0, 0, 1, 1, 2))
    return Cast(rng.random() < people, twins, "size" if benchmark == "refcoco_plus_unc" else "place")


def _refer(rng: Random, scene: Scene, benchmark: str, split: str) -> Iterator[Referred]:
    """Yield up to the wanted number of refs, their referents in random order."""
    left = rng.choice((4, 5)) if benchmark == "referit_berkeley" else rng.choice((2, 3, 3))
    for region in _referents(rng, scene, benchmark, split):
        if left == 0:
            return
        expressions = _expressions(rng, scene, region, benchmark)
        if expressions:
            left -= 1
            yield Referred(region, expressions)


def _referents(rng: Random, scene: Scene, benchmark: str, split: str) -> list[int]:
    """Return the candidates in the order in which they are tried."""
    regions = scene.regions if benchmark == "referit_berkeley" else scene.things
    wanted = {"testA": True, "testB": False}.get(split)
    indices = [
        index
        for index, region in enumerate(regions)
        if wanted is None or (isinstance(region, Thing) and region.is_person == wanted)
    ]
    rng.shuffle(indices)
    if benchmark in _PHRASINGS:  # alternate twins, which need a relation, and others
        twins = [index for index in indices if scene.has_twin(scene.things[index])]
        others = [index for index in indices if index not in twins]
        return [index for pair in zip_longest(twins, others) for index in pair if index is not None]
    return indices


def _expressions(rng: Random, scene: Scene, region: int, benchmark: str) -> tuple[str, ...]:
    """Return distinct true expressions of one region: as many as the benchmark has, or as are found."""
    wanted, propose = _manner(rng, scene, region, benchmark)
    found: list[str] = []
    for _ in range(_TRIES):
        text = propose(rng, scene, region)
        if text not in found and refers_to(text, scene, region):
            found.append(text)
            if len(found) == wanted:
                break
    return tuple(found)


def _manner(rng: Random, scene: Scene, region: int, benchmark: str) -> tuple[int, Proposer]:
    """Return how many expressions a ref of that benchmark gets, and what proposes them."""
    if benchmark in _PHRASINGS:
        relational = scene.has_twin(scene.things[region]) or rng.random() < 0.25
        propose = propose_relational if relational else propose_described
        return 2, partial(propose, phrasing=_PHRASINGS[benchmark])
    if benchmark == "referit_berkeley":
        return 1 if rng.random() < 0.85 else 2, propose_referit
    return rng.choice((1, 2, 2, 3)), propose_refcoco if benchmark == "refcoco_unc" else propose_refcoco_plus


def refers_to(text: str, scene: Scene, region: int) -> bool:
    """Return whether the expression is true of that region and of no other.

    Raises:
        grammar.UnintelligibleError: the checker cannot read the text.
    """
    try:
        return denotation(text, scene) == {region}
    except AmbiguousError:
        return False
