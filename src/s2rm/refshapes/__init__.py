"""RefShapes: drawn scenes with referring expressions, in the layout of the REFER data."""

from s2rm.refshapes.composition import Composition, Referred, compose
from s2rm.refshapes.write import write_refshapes

__all__ = ["Composition", "Referred", "compose", "write_refshapes"]
