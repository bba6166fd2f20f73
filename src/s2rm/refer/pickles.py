"""Reads pickles from untrusted sources: plain data only, never code.

A pickle is a program, and `pickle.load` runs it. The refs of REFER are lists and dicts of strings and
numbers, so nothing else is accepted. There are two checks: before loading, every opcode is inspected (unknown
ones are refused, and so are those that would make the C loader allocate memory without bound or crash); while
loading, every persistent id is refused, and every global but the three that NumPy's numbers are written with
(`s2rm.refer.numpy_scalars`), which are replaced by functions of ours.

https://docs.python.org/3/library/pickle.html#restricting-globals
"""

import codecs
import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from s2rm.core.errors import UserError
from s2rm.refer.numpy_scalars import Maker, find_maker

# What the protocols 0 to 4 use to write None, bool, int, float, str, bytes, list, tuple and dict.
_PLAIN = (
    "PROTO FRAME MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 "
    "SHORT_BINBYTES BINBYTES BINBYTES8 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE "
    "GLOBAL STACK_GLOBAL REDUCE BUILD"  # as NumPy writes a number
)
_CODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
PLAIN_OPCODES = {code: opcode for code, opcode in _CODES.items() if opcode.name in _PLAIN.split()}
MEMO_WRITES = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
SEPARATORS = MEMO_WRITES | {"MEMOIZE"}
TUPLES = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
# CPython hashes nested tuples without a depth check: some 50,000 levels overflow the C stack.
MOST_TUPLES = 10_000
# The errors that a corrupt file causes in the two readers.
CORRUPT = (ValueError, EOFError, TypeError, LookupError, AttributeError, OverflowError, MemoryError)
# The largest genuine file has about 30 MB.
MOST_BYTES = 1 << 30


def _latin1(error: UnicodeError) -> tuple[str, int]:
    """Decode undecodable bytes as Latin-1, where each byte is a character."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin1"), error.end


# Python 2 wrote its `str` as bytes of unknown encoding: REFER's are ASCII or UTF-8. Strict UTF-8 would refuse
# the file for one stray byte, and Latin-1 throughout would garble every accent.
codecs.register_error("s2rm.latin1", _latin1)


class _PlainUnpickler(pickle.Unpickler):
    """Refuses everything except plain data and NumPy's numbers."""

    def find_class(self, module: str, name: str) -> Maker:
        return find_maker(module, name)

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it asks for a persistent id")


def load_pickle(path: Path) -> Any:
    """Return the plain data in a pickle of protocol 0 to 5, written by Python 2 or 3.

    NumPy's numbers and texts become Python's.

    Raises:
        UserError: the file is missing, corrupt, truncated or too large, or holds anything other than None,
            bool, int, float, str, bytes, list, tuple, dict and NumPy's scalars of these.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes: too large for a file of refs")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        _check_opcodes(data)
        unpickler = _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="s2rm.latin1")
        return unpickler.load()
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a pickle of plain data: {_shorten(error)}; it was not loaded"
        ) from None
    except CORRUPT as error:
        raise UserError(f"{path} is corrupt or truncated: {_shorten(error)}") from None


def _check_opcodes(data: bytes) -> None:
    """Refuse everything except plain data, before any of it runs.

    This follows `pickletools.genops`, which itself fails on Python 2's strings beyond ASCII.
    """
    stream, tuples, previous = io.BytesIO(data), 0, ""
    while (code := stream.read(1)) != pickle.STOP:
        position = stream.tell() - 1
        if not code:
            raise EOFError("it ends before it is complete")
        opcode = PLAIN_OPCODES.get(code)
        if opcode is None:
            raise pickle.UnpicklingError(f"opcode {_name(code)} at byte {position}")
        if opcode.name == "STRING":
            stream.readline()
            continue
        if opcode.name == "REDUCE" and previous in TUPLES:
            tuples -= 1  # the arguments of a call, in which the functions of ours accept no tuple
        if opcode.name not in SEPARATORS:
            previous = opcode.name
        argument: Any = opcode.arg.reader(stream) if opcode.arg else None
        if opcode.name == "GLOBAL":
            find_maker(*argument.split(" ", 1))
        if opcode.name in MEMO_WRITES and argument > position:  # more entries than the file has bytes
            raise pickle.UnpicklingError(f"memo entry {argument} at byte {position}")
        if opcode.name in TUPLES:
            tuples += 1
            if tuples > MOST_TUPLES:
                raise pickle.UnpicklingError(f"more than {MOST_TUPLES:,} tuples")


def _name(code: bytes) -> str:
    return _CODES[code].name if code in _CODES else repr(code)


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"
