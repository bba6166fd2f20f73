"""Files appear whole or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from s2rm.core.errors import UserError


def partial_of(path: Path) -> Path:
    """Where `path` is written until it is whole: beside it, so that it can be moved in one step."""
    return path.with_name(f".partial-{path.name}")


def replace(path: Path, write: Callable[[Path], object]) -> Path:
    """Writes beside `path` and moves it there; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    write(partial)
    partial.replace(path)
    return path


def replace_text(path: Path, text: str) -> Path:
    return replace(path, lambda partial: partial.write_text(text, encoding="utf-8", newline="\n"))


def link(source: Path, target: Path) -> Path:
    """A second name of the same file, or a copy where the file system knows none."""

    def write(partial: Path) -> None:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)

    return replace(target, write)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file; `UserError` where there is none. `what`: how messages call the file."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds {type(tree).__name__}, not a mapping")
    return tree
