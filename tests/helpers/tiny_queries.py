"""ReferIt's original files, tiny, for tests to break; and MAT-files of level 5, sound or crafted."""

import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from s2rm.data.image_zip import ImageZipWriter
from s2rm.refer.issues import Issues
from s2rm.refer.referit import load_queries

UINT8, INT8, INT32, UINT32, DOUBLE, MATRIX, COMPRESSED = 2, 1, 5, 6, 9, 14, 15  # types of elements
DOUBLE_CLASS = 6
ALL = ["9_2", "9_10", "16_1", "16_3"]  # the crops of `TinyQueries`, in the order of their ids


def square(height: int, width: int, top: int, left: int) -> NDArray[np.bool_]:
    """A mask with 4 × 6 pixels of foreground."""
    mask = np.zeros((height, width), bool)
    mask[top : top + 4, left : left + 6] = True
    return mask


def mat(compressed: bool = True, **matrices: Any) -> bytes:
    """The MAT-file that SciPy writes."""
    file = io.BytesIO()
    savemat(file, matrices, do_compression=compressed)
    return file.getvalue()


def mat_of(mask: NDArray[np.bool_]) -> bytes:
    """As in ReferIt: 0 in the region, 1 elsewhere."""
    return mat(segimg_t=(~mask).astype(np.uint8))


def element(kind: int, content: bytes, order: str = "<") -> bytes:
    fill = b"" if kind == COMPRESSED else bytes(-len(content) % 8)
    return struct.pack(f"{order}II", kind, len(content)) + content + fill


def matrix(
    values: bytes,
    shape: tuple[int, ...] = (20, 30),
    kind: int = DOUBLE,
    flags: int = DOUBLE_CLASS,
    name: bytes = b"segimg_t",
    order: str = "<",
) -> bytes:
    """The element of a matrix, whatever is wrong with it."""
    parts = [
        element(UINT32, struct.pack(f"{order}II", flags, 0), order),
        element(INT32, struct.pack(f"{order}{len(shape)}i", *shape), order),
        element(INT8, name, order),
        element(kind, values, order),
    ]
    return element(MATRIX, b"".join(parts), order)


def mat_file(*elements: bytes, order: str = "<", version: int = 0x0100) -> bytes:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", version)
    return header + {"<": b"IM", ">": b"MI"}[order] + b"".join(elements)


def bomb(shape: tuple[int, int], megabytes: int) -> bytes:
    """A compressed matrix of doubles that inflates to `megabytes`, whatever its shape says."""

    def parts() -> Iterator[bytes]:
        sound = matrix(b"", shape)
        size = megabytes << 20
        yield struct.pack("<II", MATRIX, len(sound) + size) + sound[8:-8] + struct.pack("<II", DOUBLE, size)
        for _ in range(megabytes):
            yield bytes(1 << 20)

    deflate = zlib.compressobj()
    packed = b"".join(deflate.compress(part) for part in parts()) + deflate.flush()
    return mat_file(element(COMPRESSED, packed))


@dataclass
class TinyQueries:
    """Four crops of two images; change anything before `load`."""

    folder: Path
    queries: dict[str, Any] = field(
        default_factory=lambda: {
            "train": {"9_10": ["the sky", " any part  of sky ", "the sky"], "9_2": ["Man?"]},
            "val": {"16_1": ["left\ttree"]},
            "test": {"16_3": ["bottom"]},
        }
    )
    sizes: Any = field(default_factory=lambda: {"9.jpg": [30, 20], "16.jpg": [16, 24]})
    boxes: Any = field(
        default_factory=lambda: {
            "9_10": [3, 5, 8, 8],
            "9_2": [24, 16, 29, 19],
            "16_1": [0, 0, 5, 3],
            "16_3": [7, 20, 12, 23],
        }
    )
    mats: dict[str, bytes] = field(
        default_factory=lambda: {
            "9_10.mat": mat_of(square(20, 30, 5, 3)),
            "9_2.mat": mat_of(square(20, 30, 16, 24)),
            "16_1.mat": mat_of(square(24, 16, 0, 0)),
            "16_3.mat": mat_of(square(24, 16, 20, 7)),
        }
    )

    def write(self) -> None:
        self.folder.mkdir(exist_ok=True)
        files = {f"query_{split}": queries for split, queries in self.queries.items()}
        for name, content in {**files, "imsize": self.sizes, "bbox": self.boxes}.items():
            (self.folder / f"referit_{name}.json").write_text(json.dumps(content))
        with ImageZipWriter(self.folder / "masks.zip") as masks:
            for name, data in self.mats.items():
                masks.add(name, data)

    def load(self) -> tuple[list[Any], dict[str, list[Any]], Issues]:
        self.write()
        issues = Issues()
        refs, instances = load_queries(self.folder, issues)
        return refs, instances, issues


def crops_of(refs: list[Any]) -> list[str]:
    """Which crops are left, by the sentences, which all differ."""
    keys = {"the sky": "9_10", "Man?": "9_2", "left\ttree": "16_1", "bottom": "16_3"}
    return [keys[ref["sentences"][0]["raw"]] for ref in refs]


def only_issue(issues: Issues) -> tuple[str, int, list[int | str]]:
    ((kind, issue),) = issues.report().items()
    return kind, issue["count"], issue["ids"]
