"""Checks of an encoder's files that need no model: which are there, of what kind, and whether they are whole.

They take milliseconds, so that hours of downloads and the start of a training are not spent in vain.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from s2rm.core.errors import UserError


def check_safetensors(path: Path) -> None:
    """Check that a file is a complete safetensors file with tensors.

    Raises:
        UserError: it is not.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} is not a complete safetensors file ({reason}): delete it, and fetch or place it again"
        ) from None
    if not names:
        raise UserError(f"{path} holds no weights: delete it, and fetch or place it again")


def find_missing(names: Collection[str], required: Sequence[Collection[str]]) -> list[str]:
    """Return the required files that are not among the names."""
    return [" or ".join(each) for each in required if not set(each) & set(names)]


def list_needed(files: Sequence[str], required: Sequence[Collection[str]]) -> str:
    """Name all files to place by hand: the required ones, and those that a repository may have besides."""
    needed = [" or ".join(each) for each in required]
    besides = [name for name in files if not any(name in each for each in required)]
    return ", ".join(needed) + (
        f" (and {', '.join(besides)}, where the repository has them)" if besides else ""
    )


def refuse_folders(folder: Path, files: Sequence[str]) -> None:
    """Refuse a folder where a file should be.

    Raises:
        UserError: names the first one.
    """
    for name in files:
        if (folder / name).is_dir():
            raise UserError(f"{folder / name} is a folder: place the file of that name there instead")
