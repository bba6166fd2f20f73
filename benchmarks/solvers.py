"""How often solvers that understand a part of the language find the referents of the structured partitions.

    python benchmarks/solvers.py

A solver picks one thing at random among those that match its part of the expression, and segments it
perfectly: its share of referents found is the mIoU that it would have.

    attributes   "the second green thing from the left": any green thing
    position     "the second green thing from the left": the second of all things, whatever their attributes

The solver of positions knows the anchors ("in the row of the red cross"). A blind solver picks any thing. Two
more solve expressions of two hops, as "the star in the row of the cross below the red circle":

    first hop    a star in the row of any cross
    last hop     a star below the red circle
"""

import argparse
import json
from dataclasses import replace

from s2rm.config.benchmarks import DRAWN_ONLY
from s2rm.refshapes import compose
from s2rm.refshapes.expression_kinds import kind_of
from s2rm.refshapes.scene import Scene
from s2rm.refshapes.semantics import AmbiguousError
from s2rm.refshapes.structured_phrases import StructuredPhrase, What, parse
from s2rm.refshapes.structured_semantics import (
    SAME,
    denote_first_hop,
    denote_last_hop,
    denote_phrase,
    matching,
    side_distance,
)

SOLVERS = ("attributes", "position", "first hop", "last hop", "blind")
Shares = dict[str, dict[str, float]]  # kind of expression → its number, and solver → percent found


def by_position(phrase: StructuredPhrase, scene: Scene) -> list[int]:
    """Return the things at the position that the phrase names, whatever their colour and shape."""
    try:
        found = sorted(denote_phrase(replace(phrase, what=What(), rank=None, side=None), scene))
    except AmbiguousError:
        found = list(range(len(scene.things)))
    if phrase.rank is None or phrase.side is None or not found:
        return found
    distances = {i: side_distance(scene.things[i], phrase.side, scene) for i in found}
    ranked = sorted(distances.values())[min(phrase.rank, len(distances)) - 1]
    return [i for i, distance in distances.items() if abs(distance - ranked) <= SAME]


def guess(text: str, scene: Scene) -> dict[str, list[int]]:
    """Return the things that each solver guesses among; those of hops solve expressions of two hops only."""
    phrase = parse(text)
    guesses = {
        "attributes": matching(phrase.what, scene),
        "position": by_position(phrase, scene),
        "blind": list(range(len(scene.things))),
    }
    if any(anchor.tail for anchor in phrase.anchors):
        guesses["first hop"] = sorted(denote_first_hop(phrase, scene))
        guesses["last hop"] = sorted(denote_last_hop(phrase, scene))
    return guesses


def measure(benchmark: str, seed: int, images: int) -> Shares:
    """Measure every solver on the first images of a val split, by kind of expression."""
    shares: dict[str, dict[str, list[float]]] = {}
    for index in range(images):
        composition = compose(seed, benchmark, "val", index)
        for ref in composition.refs:
            for text in ref.expressions:
                for solver, found in guess(text, composition.scene).items():
                    share = 1 / len(found) if ref.region in found else 0.0
                    for kind in (kind_of(text, benchmark), "all"):
                        shares.setdefault(kind, {}).setdefault(solver, []).append(share)
    return {
        kind: {"expressions": len(solvers["blind"])}
        | {
            solver: round(100 * sum(solvers[solver]) / len(solvers[solver]), 1)
            for solver in SOLVERS
            if solver in solvers and (kind != "all" or "hop" not in solver)
        }
        for kind, solvers in sorted(shares.items())
    }


def main() -> None:
    """Print the shares in percent, by partition, kind and solver."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=250, help="of the val split (default: 250)")
    parser.add_argument("--seed", type=int, default=7, help="data.refshapes.seed (default: 7)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    measured = {name: measure(name, arguments.seed, arguments.images) for name in DRAWN_ONLY}
    if arguments.json:
        print(json.dumps(measured, indent=2))
        return
    for name, shares in measured.items():
        columns = [
            column for column in ("expressions", *SOLVERS) if any(column in row for row in shares.values())
        ]
        print(f"{name:<20}" + "".join(f"{column:>12}" for column in columns))
        for kind, row in shares.items():
            print(f"{kind:<20}" + "".join(f"{row.get(column, ''):>12}" for column in columns))


if __name__ == "__main__":
    main()
