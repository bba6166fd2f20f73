"""How often solvers that know only half of the language would find the referent of RefShapes structured.

Each names one thing, at random among those that its half of the expression leaves, and draws it
perfectly: the share found is what its mIoU would be.

    attributes   "the second green thing from the left": any green thing
    position     "the second green thing from the left": the second of all things, whatever they are

Anchors ("in the row of the red cross") are given to the solver of positions. A blind one picks any thing.
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
    return matching(phrase.what, scene)


def by_position(phrase: StructuredPhrase, scene: Scene) -> list[int]:
    try:
        found = sorted(denote_phrase(replace(phrase, what=What(), rank=None, side=None), scene))
    except AmbiguousError:
        found = list(range(len(scene.things)))
    if phrase.rank is None or phrase.side is None or not found:
        return found
    places = {i: side_distance(scene.things[i], phrase.side, scene) for i in found}
    ranked = sorted(places.values())[min(phrase.rank, len(places)) - 1]
    return [i for i, place in places.items() if abs(place - ranked) <= SAME]


def kind_of(phrase: StructuredPhrase) -> str:
    if phrase.tail == "between":
        return "between"
    if phrase.rank:
        return "beyond" if phrase.tail in ("top", "bottom", "left", "right") else "ordinal"
    return "in line" if phrase.tail else "described"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--seed", type=int, default=7, help="data.refshapes.seed")
    parser.add_argument("--json", action="store_true")
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
