"""Files appear whole or not at all."""

from collections.abc import Callable
from pathlib import Path


def replace(path: Path, write: Callable[[Path], object]) -> Path:
    """Writes beside `path` and moves it there; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    write(partial)
    partial.replace(path)
    return path


def replace_text(path: Path, text: str) -> Path:
    return replace(path, lambda partial: partial.write_text(text, encoding="utf-8", newline="\n"))
