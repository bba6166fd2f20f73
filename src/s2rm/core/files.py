"""Write files atomically, and read YAML files."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from s2rm.core.errors import UserError


def partial_of(path: Path) -> Path:
    """Return where `path` is written until it is complete: beside it, so that one rename puts it in place."""
    return path.with_name(f".partial-{path.name}")


def replace(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file in one step: it appears complete or not at all.

    Args:
        path: the file to write; its folder is made where it is missing.
        write: writes the content to the path that it is given.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    write(partial)
    partial.replace(path)
    return path


def replace_text(path: Path, text: str) -> Path:
    """Write a text file in one step, in UTF-8 with line feeds; return `path`."""
    return replace(path, lambda partial: partial.write_text(text, encoding="utf-8", newline="\n"))


def link(source: Path, target: Path) -> Path:
    """Make `target` a hard link to `source`, or a copy where links are not supported; return `target`."""

    def write(partial: Path) -> None:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)

    return replace(target, write)


def copy(source: Path, target: Path) -> Path:
    """Copy a file; return `target`."""
    return replace(target, lambda partial: shutil.copyfile(source, partial))


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Return the mapping in a YAML file, read as DVC reads it: by the rules of YAML 1.2.

    PyYAML would apply those of YAML 1.1, to which 5e-5 is a text, `on` is true and 010 is eight.

    Args:
        path: the file.
        what: how error messages call it, as "the catalog".

    Raises:
        UserError: the file cannot be read, is not valid YAML, or does not hold a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    try:
        tree = YAML(typ="safe").load(text)
    except Exception as error:  # besides YAMLError the reader raises what its constructors do
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds {type(tree).__name__}, not a mapping")
    return tree


def load_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: the file cannot be read, or does not hold JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is corrupt or truncated JSON: {str(error)[:200]}") from None
