"""Random changes of bytes and of nested data, as damage and careless scripts make them."""

import copy
import json
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

randoms = st.randoms(use_true_random=False)

# In JSON and in pickles.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, 2**70, 0.0, 1.0, 0.5, -1.5, 1e308),
    *(float("nan"), float("inf"), "", " ", "0", "1", "12", " 7 ", "1.5", "-1", "x", "1.png", "../1.png"),
    *("/etc/passwd", "a\\b", "\0", "\ud800", "é象", "x" * 3000, "train", "Val", "testAB", [], {}, [[]], [{}]),
    *([1, 2, 3], [[1, 2], [3, 4]], [[[1, 2], [3, 4], [5, 9]]], [[0.1, 0.1, 0.9, 0.1, 0.5, 0.9]], ["a", 1]),
    *({"size": [20, 30], "counts": "0"}, {"size": [20, 30], "counts": [300, 5, 295]}),
]
# In pickles alone.
MORE_VALUES: list[Any] = [
    *(b"", b"\xff\xfe", (1, 2), (), 10**5000, np.int64(3), np.uint8(255), np.float32(1.5)),
    *(np.str_("7"), np.bool_(True)),
]


def is_one_line(error: Exception) -> bool:
    """Whether an error's message is one line that can be printed."""
    message = str(error)
    return bool(message) and "\n" not in message and bool(message.encode())


def places(tree: Any) -> list[tuple[Any, Any]]:
    """All (container, key) pairs of nested lists and mappings."""
    found: list[tuple[Any, Any]] = []
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        found += [(tree, key), *places(tree[key])]
    return found


def mutate_tree(tree: Any, random: Random, values: list[Any] = VALUES) -> Any:
    """A copy with one to four changes: a value replaced, removed, repeated, renamed or put elsewhere."""
    tree = copy.deepcopy(tree)
    for _ in range(random.randint(1, 4)):
        found = places(tree)
        if not found:
            return random.choice(values)
        container, key = random.choice(found)
        match random.randrange(6):
            case 0 | 1:
                container[key] = copy.deepcopy(random.choice(values))
            case 2:
                del container[key]
            case 3 if isinstance(container, list):
                container.insert(random.randint(0, len(container)), copy.deepcopy(container[key]))
            case 3:
                container[ascii(random.choice(VALUES))[:50]] = container.pop(key)
            case 4:
                other, there = random.choice(found)
                if there in (other if isinstance(other, dict) else range(len(other))):
                    container[key] = copy.deepcopy(other[there])
            case _:
                value = container[key]
                forms = [str, lambda each: [each], lambda each: {"value": each}]
                if type(value) in (int, float):
                    forms += [float, lambda each: -each, lambda each: each + 1, lambda each: each * 1000]
                try:
                    container[key] = random.choice(forms)(value)
                except (ValueError, OverflowError):
                    container[key] = None
    return tree


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """One to four changes: bytes set, removed, repeated or inserted, the end cut off, or all of it lost."""
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(data) + 1)
        end = min(len(data), place + random.choice([1, 1, 4, 16, 200]))
        match random.randrange(7):
            case 0 | 1 | 2:
                data = data[:place] + bytes(random.randrange(256) for _ in range(end - place)) + data[end:]
            case 3:
                data = data[:place] + data[end:]
            case 4:
                data = data[:end] + data[place:]
            case 5:
                data = data[:place]
            case _:
                data = random.choice([b"", b"\0" * 100, b"<html>404</html>", data + b"\n"])
    return data


def mutate_files(files: dict[str, bytes], random: Random) -> dict[str, bytes]:
    """Remove, exchange, cut or change one or two files of a folder of weights."""
    files = dict(files)
    for name in random.sample(sorted(files), random.choice([1, 1, 2])):
        match random.randrange(6):
            case 0:
                del files[name]
            case 1:
                files[name] = files.get(random.choice(sorted(files)), b"")
            case 2:
                files[name] = mutate_bytes(files[name], random)
            case _ if name.endswith(".json"):
                files[name] = json.dumps(mutate_tree(json.loads(files[name]), random)).encode()
            case _ if name.endswith(".safetensors"):
                files[name] = mutate_header(files[name], random)
            case _:
                lines = files[name].splitlines(keepends=True)
                files[name] = b"".join(random.choices(lines, k=random.randrange(2 * len(lines) + 1)))
    return files


def mutate_header(data: bytes, random: Random) -> bytes:
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(mutate_tree(json.loads(data[8:end]), random)).encode()
    return len(header).to_bytes(8, "little") + header + data[end:]
