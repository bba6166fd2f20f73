"""Change single values of a parameter file as `dvc exp run -S` changes them."""

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from s2rm.core.errors import UserError
from s2rm.core.files import read_yaml


def apply_overrides(path: Path, overrides: Sequence[str], what: str) -> dict[str, Any]:
    """Return the mapping in a YAML file after overrides, which DVC itself applies to a copy of it.

    So a mapping is merged, `~key` removes a key and `+key=value` adds one:
    https://dvc.org/doc/command-reference/exp/run (`--set-param`), a subset of Hydra's override grammar.

    Args:
        path: the file, which is not changed.
        overrides: `section.key=value` each; a later one wins.
        what: how error messages call the file.

    Raises:
        UserError: the file cannot be read, or an override is not valid or does not fit the file.
    """
    tree = read_yaml(path, what)
    if not overrides:
        return tree
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides as apply_in_place
    from omegaconf.errors import OmegaConfBaseException

    with TemporaryDirectory() as folder:
        copy = Path(folder) / "params.yaml"
        copy.write_bytes(path.read_bytes())
        try:
            apply_in_place(copy, list(overrides))
        except (DvcException, OmegaConfBaseException) as error:
            raise UserError(_explain(_find_wrong(copy, overrides), error, tree)) from None
        try:
            return read_yaml(copy, what)
        except UserError as error:  # DVC misplaces the comment of a list that becomes empty
            reason = str(error).replace(str(copy), "the file that DVC writes")
            raise UserError(f"invalid overrides {' '.join(overrides)}: {reason}") from None


def name_nearest(key: str, known: Collection[str]) -> str:
    """Return the end of a message about an unknown key: "; did you mean …?" or "; known are …"."""
    matches = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if matches:
        return f"; did you mean {matches[0]}?"
    return f"; known are {', '.join(known)}" if known else ""


def _find_wrong(file: Path, overrides: Sequence[str]) -> str:
    """Return the first override that DVC refuses; a refused one leaves the file as it is."""
    from dvc.utils.hydra import apply_overrides as apply_in_place

    for override in overrides:
        try:
            apply_in_place(file, [override])
        except Exception:
            return override
    return " ".join(overrides)


def _explain(override: str, error: Exception, tree: Any) -> str:
    key, equals, value = override.partition("=")
    invalid = f"invalid override {override!r}"
    if not equals and not key.startswith("~"):
        return f"{invalid}: expected section.key=value, as fusion.balancing=false"
    reason = str(error.__cause__ or error).partition("\n")[0]
    if reason.startswith("Could not override") and key:
        *sections, last = key.split(".")
        for section in sections:
            tree = tree.get(section) if isinstance(tree, dict) else None
        known = tree if isinstance(tree, dict) else {}
        if isinstance(known.get(last), dict):
            return f"{invalid}: {key} lacks a key of it; +{key}.KEY=VALUE adds one, ~{key}.KEY removes one"
        return f"unknown parameter {key}{name_nearest(last, known)}"
    if reason.startswith("Error merging override"):
        reason = f"{value} is not one value; `dvc exp run --queue` makes an experiment of each of several"
    return f"{invalid}: {reason}"
