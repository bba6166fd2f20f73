"""Rebuilds NumPy's numbers and texts from a pickle without running anything of NumPy's unpickling.

NumPy writes a scalar as `scalar(dtype("i8", …), bytes)`, and the bytes, in old protocols, as
`_codecs.encode(text, "latin1")`. The three functions below take the place of these globals. They accept only
such arguments, and return plain Python values.
"""

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

CODE = re.compile("b1|[iu][1248]|f[248]|[US][0-9]{1,4}")  # bool, integers, floats, texts
LONGEST_CODE = 1 << 15  # bytes of one scalar: a call must not multiply what the file holds


class Maker:
    """A function that a pickle may call; a new object for each use, so that no pickle changes another's."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def __call__(self, *arguments: Any) -> Any:
        """Call the function with what the pickle gives."""
        return self.make(*arguments)


class _Kind:
    """Stands for a NumPy data type."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not CODE.fullmatch(code):
            raise pickle.UnpicklingError("it holds NumPy objects other than numbers and texts")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|"):
            raise pickle.UnpicklingError("it holds a NumPy data type of an unknown form")
        self.order = state[1]


def find_maker(module: str, name: str) -> Maker:
    """Return what takes the place of a global.

    Raises:
        UnpicklingError: nothing does: the global is refused.
    """
    if (module, name) == ("numpy", "dtype"):
        return Maker(_Kind)
    if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        if name == "scalar":
            return Maker(_scalar)
        raise pickle.UnpicklingError("it holds NumPy arrays: write lists instead (.tolist())")
    if (module, name) == ("_codecs", "encode"):
        return Maker(_encode)
    raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _scalar(kind: Any, data: Any) -> Any:
    if not isinstance(kind, _Kind) or not isinstance(data, bytes) or len(data) > LONGEST_CODE:
        raise pickle.UnpicklingError("it holds a NumPy number of an unknown form")
    found = np.frombuffer(data, np.dtype(kind.order + kind.code))
    if found.size != 1:
        raise pickle.UnpicklingError("it holds a NumPy number of another size than its type")
    return found.item()


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1" or len(text) > LONGEST_CODE:
        raise pickle.UnpicklingError("it asks for _codecs.encode")
    return text.encode("latin1")
