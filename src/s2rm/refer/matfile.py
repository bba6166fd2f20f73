"""Reads one real matrix from an untrusted MAT-file of level 5, the form that MATLAB 5 to 7.2 writes.

SciPy's reader executes nothing of such a file, but trusts it: compressed data is inflated without bound, and
an unknown data type crashes the process (https://github.com/scipy/scipy/pull/25349). This reader accepts one
real matrix of a given name and size and nothing else, so memory and time are bounded by that size.

https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2rm.data.rle import SegmentationError

FILE_HEADER = 128  # bytes: text, the offset of subsystem data, version, byte order
MATRIX_HEADER = 1024  # bytes; more than the flags, dimensions and name of a matrix take
LEVEL_5 = 0x0100
MATRIX, COMPRESSED = 14, 15  # types of elements; the numeric ones:
NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
NUMERIC = range(6, 16)  # classes of matrices: double to uint64; lower ones are cells, structs, objects, text
COMPLEX = 0x0800  # flag


def read_matrix(data: bytes, name: str, height: int, width: int) -> NDArray[Any]:
    """Return the matrix of that name, which must be the only one of that name in the file.

    Args:
        data: the content of the MAT-file.
        name: the matrix's variable name.
        height: the expected number of rows.
        width: the expected number of columns.

    Returns:
        The matrix (height, width), in the file's own number type, all values finite.

    Raises:
        SegmentationError: `mask_size` where the matrix has another size; `mask_unreadable` where the file is
            not a MAT-file of level 5, is cut or corrupt, or does not hold exactly one such matrix of real
            numbers.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:FILE_HEADER], "")
    if not order or struct.unpack_from(f"{order}H", data, 124) != (LEVEL_5,):
        raise SegmentationError("mask_unreadable", "not a MAT-file of level 5 (MATLAB 5 to 7.2)")
    matrices = []
    for kind, content in _elements(memoryview(data)[FILE_HEADER:], order):
        if kind == COMPRESSED:
            kind, content = _inflate(content, order, MATRIX_HEADER + 8 * height * width)
        parts = list(islice(_elements(content, order), 4))  # flags, dimensions, name, values
        if kind == MATRIX and len(parts) == 4 and bytes(parts[2][1]) == name.encode("ascii"):
            matrices.append(parts)
    if len(matrices) != 1:
        raise SegmentationError("mask_unreadable", f"it has {len(matrices)} matrices {name}, not one")
    (_, flags), (_, dimensions), _, (kind, content) = matrices[0]
    word = int.from_bytes(flags[:4], "little" if order == "<" else "big")
    if word & 0xFF not in NUMERIC or word & COMPLEX or kind not in NUMBERS:
        raise SegmentationError("mask_unreadable", f"{name} is not a matrix of real numbers")
    shape = np.frombuffer(dimensions[: len(dimensions) // 4 * 4], f"{order}i4").tolist()
    if shape != [height, width]:
        raise SegmentationError("mask_size", f"{name} has size {str(shape)[:40]}, not {[height, width]}")
    number = np.dtype(f"{order}{NUMBERS[kind]}")
    if len(content) != height * width * number.itemsize:
        raise SegmentationError("mask_unreadable", f"{len(content)} bytes do not fill {height} × {width}")
    values = np.frombuffer(content, number)
    if number.kind == "f" and not np.isfinite(values).all():
        raise SegmentationError("mask_unreadable", f"{name} has values that are not finite")
    return values.reshape((height, width), order="F")


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each element in `data`; the last one may be cut short."""
    place, tag = 0, struct.Struct(f"{order}II")
    while place + tag.size <= len(data):
        kind, length = tag.unpack_from(data, place)
        if kind >> 16:  # a small element: type and length share 4 bytes, the content has the other 4
            yield kind & 0xFFFF, data[place + 4 : place + 4 + min(kind >> 16, 4)]
            place += tag.size
            continue
        place += tag.size
        yield kind, data[place : place + length]
        place += length if kind == COMPRESSED else length + -length % 8  # others are padded to 8 bytes


def _inflate(data: memoryview, order: str, most: int) -> tuple[int, memoryview]:
    """Return type and content of the compressed element, inflating at most `most` bytes of it."""
    try:
        inflated = zlib.decompressobj().decompress(data, most)
    except zlib.error as error:
        raise SegmentationError("mask_unreadable", f"its compressed data is corrupt: {error}") from None
    return next(_elements(memoryview(inflated), order), (0, memoryview(b"")))
