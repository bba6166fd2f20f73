"""Names the kind of an expression of a structured partition, so that scores can be grouped by it."""

from s2rm.config.benchmarks import TWO_HOPS
from s2rm.refshapes.semantics import DIRECTIONS
from s2rm.refshapes.structured_phrases import parse


def kind_of(text: str, benchmark: str) -> str:
    """Return the kind of an expression, by its text alone.

    Args:
        text: an expression of the benchmark.
        benchmark: name of a structured partition.

    Returns:
        Of refshapes_two_hops: "described", "one hop" or "two hops". Of refshapes_structured: "described",
        "ordinal", "ordinal in a line", "row", "column", "beyond" or "between".

    Raises:
        grammar.UnintelligibleError: the text is not in the grammar.
    """
    phrase = parse(text)
    if benchmark == TWO_HOPS.name and phrase.tail:
        return "two hops" if any(anchor.tail for anchor in phrase.anchors) else "one hop"
    if phrase.tail in DIRECTIONS:
        return "beyond"
    if phrase.rank:
        return "ordinal in a line" if phrase.tail else "ordinal"
    return phrase.tail or "described"
