"""The structured partition: crowded lattices, and expressions whose truth depends on rows and columns."""

from s2rm.data.refshapes.structured.composition import compose_structured

__all__ = ["compose_structured"]
