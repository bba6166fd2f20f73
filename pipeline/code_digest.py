"""Compute digests of the project's own code that scripts load, one per module and data file.

The digest of a module is that of its syntax tree: comments, docstrings, formatting, `pass` and
`__version__` do not count, and every version of Python that can read the module gives the same digest. A
data file counts byte by byte. Libraries of others are not part of it; requirements.lock pins them.
"""

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from source_tree import SourceTree

LENGTH = 16  # hexadecimal digits of a digest
SHOWN = 8  # names in a message
# u"" against "", comments on types, and what follows from a node's place.
NOT_COUNTED = {"kind", "type_comment", "ctx"}


def digest_scripts(root: Path, scripts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the digests of the code that each script loads.

    Args:
        root: the folder that contains src/ and pipeline/.
        scripts: names of their modules, such as "pipeline.train".

    Returns:
        Script → module or data file → digest, sorted by name.

    Raises:
        UserError: a module is not valid Python.
    """
    sources = SourceTree(root)
    closures = {script: sorted(sources.closure(script)) for script in scripts}
    digests = {
        name: _digest(sources, name) for name in {each for names in closures.values() for each in names}
    }
    return {script: {name: digests[name] for name in names} for script, names in closures.items()}


def list_changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the sorted names that are missing in one of two mappings or have another value there."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def join_names(names: Sequence[str]) -> str:
    """Return names as text; of many only the first few."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _digest(sources: SourceTree, name: str) -> str:
    is_data = name in sources.data
    content = sources.data[name].read_bytes() if is_data else _describe(sources.parse(name)).encode()
    return hashlib.sha256(content).hexdigest()[:LENGTH]


def _describe(node: object) -> str:
    """Return a syntax tree as text, like `ast.dump`, whose text differs between versions of Python."""
    if isinstance(node, ast.AST):
        fields = []
        for name in sorted(set(node._fields) - NOT_COUNTED):
            value = getattr(node, name, None)
            if isinstance(value, list):
                value = [each for each in value if not _is_idle(each, node)]
            # Later versions have more fields; they are empty for code that earlier versions can read.
            if value is not None and value != []:
                fields.append(f"{name}={_describe(value)}")
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_describe, node))}]"
    return f"{type(node).__name__}:{node!a}"


def _is_idle(node: object, parent: ast.AST) -> bool:
    """Whether a node does nothing (a docstring, another constant, `pass`) or numbers the release."""
    match node:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Assign(targets=[ast.Name(id="__version__")]):
            return True
        case ast.Constant(value=""):  # some releases of Python 3.12 add one to an f-string
            return isinstance(parent, ast.JoinedStr)
    return False
