"""Read a parameter file, override single values, and explain what is wrong in one line."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError

from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.core.files import read_yaml


def load_params(path: str | Path = "params.yaml", overrides: Iterable[str] = ()) -> Params:
    """Reads and checks a parameter file; `overrides` are `section.key=value`, as for DVC's -S."""
    path = Path(path)
    tree = read_yaml(path, "the parameters in")
    for override in overrides:
        _override(tree, override)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from None


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *sections, last = key.split(".")
    if not equals:
        raise UserError(f"{override!r} is no override: write section.key=value, as fusion.balancing=false")
    for section in sections:
        tree = tree.get(section) if isinstance(tree, dict) else None  # type: ignore[assignment]
    if not isinstance(tree, dict) or last not in tree:
        raise UserError(f"{key} is no parameter{_nearest(last, tree if isinstance(tree, dict) else [])}")
    try:
        tree[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"the value of {override!r} is no YAML") from None


def _nearest(key: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else f"; known are {', '.join(known)}"


def _explain(error: ValidationError) -> str:
    """The first fault as one line: key, what was given, what is allowed."""
    faults = error.errors()
    # A misspelt key is also a missing one: the misspelling is what helps.
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    path = [str(part) for part in fault["loc"]]
    key, given = ".".join(path), fault.get("input")
    if fault["type"] == "value_error":  # our own checks: the message is complete
        return str(fault["ctx"]["error"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key}={given!r}{_nearest(path[-1], _keys_at(path[:-1]))}"
    if fault["type"] == "missing":
        return f"{key} is missing"
    allowed = fault["msg"].removeprefix("Input should be ")
    return f"{key} is {given!r}: it must be {allowed}"


def _keys_at(path: list[str]) -> list[str]:
    """The keys that the section at `path` knows."""
    model: Any = Params
    for part in path:
        is_mapping = get_origin(model) is dict  # runs: name → Run
        model = get_args(model)[-1] if is_mapping else model.model_fields[part].annotation
    return list(getattr(model, "model_fields", {}))
