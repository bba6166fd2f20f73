"""How often solvers that understand half of the language find the referents of structured RefShapes.

    python benchmarks/structured_solvers.py

A solver picks one thing at random among those that match its half of the expression, and segments it
perfectly: its share of referents found is the mIoU that it would have.

    attributes   "the second green thing from the left": any green thing
    position     "the second green thing from the left": the second of all things, whatever their attributes

The solver of positions knows the anchors ("in the row of the red cross"). A blind solver picks any thing.
"""

import argparse
import json
from dataclasses import replace

from s2rm.config.benchmarks import STRUCTURED
from s2rm.refshapes import compose
from s2rm.refshapes.scene import Scene
from s2rm.refshapes.semantics import AmbiguousError
from s2rm.refshapes.structured_phrases import StructuredPhrase, What, parse
from s2rm.refshapes.structured_semantics import SAME, denote_phrase, matching, side_distance


def by_attributes(phrase: StructuredPhrase, scene: Scene) -> list[int]:
    """Return the things whose colour and shape the phrase names."""
    return matching(phrase.what, scene)


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


def kind_of(phrase: StructuredPhrase) -> str:
    """Return which relation a phrase uses; `described` where it uses none."""
    if phrase.tail == "between":
        return "between"
    if phrase.rank:
        return "beyond" if phrase.tail in ("top", "bottom", "left", "right") else "ordinal"
    return "in line" if phrase.tail else "described"


def main() -> None:
    """Print the shares in percent, by relation and solver."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=250, help="of the val split (default: 250)")
    parser.add_argument("--seed", type=int, default=7, help="data.refshapes.seed (default: 7)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    shares: dict[str, dict[str, list[float]]] = {}
    for index in range(arguments.images):
        composition = compose(arguments.seed, STRUCTURED.name, "val", index)
        scene = composition.scene
        for ref in composition.refs:
            for text in ref.expressions:
                phrase = parse(text)
                guesses = {
                    "attributes": by_attributes(phrase, scene),
                    "position": by_position(phrase, scene),
                    "blind": list(range(len(scene.things))),
                }
                for solver, guess in guesses.items():
                    share = 1 / len(guess) if ref.region in guess else 0.0
                    for kind in (kind_of(phrase), "all"):
                        shares.setdefault(kind, {}).setdefault(solver, []).append(share)
    found = {
        kind: {"expressions": len(solvers["blind"])}
        | {solver: round(100 * sum(values) / len(values), 1) for solver, values in solvers.items()}
        for kind, solvers in sorted(shares.items())
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'kind':<12}{'expressions':>12}{'attributes':>12}{'position':>12}{'blind':>12}")
    for kind, row in found.items():
        print(f"{kind:<12}" + "".join(f"{value:>12}" for value in row.values()))


if __name__ == "__main__":
    main()
