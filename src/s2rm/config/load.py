"""Read a parameter file, override single values, and explain what is wrong in one line."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from s2rm.config.overrides import apply_overrides, name_nearest
from s2rm.config.params import Params
from s2rm.config.section import Section
from s2rm.core.errors import UserError


def load_params(path: str | Path = "params.yaml", overrides: Iterable[str] = ()) -> Params:
    """Read and check a parameter file.

    Args:
        path: a YAML file that holds every parameter: none takes its default, so that a file says all of
            an experiment.
        overrides: `section.key=value` each, with the meaning that they have for DVC's -S; a later one wins.

    Raises:
        UserError: the file cannot be read, or a key or a value is not allowed. The message is one line
            that names the key, what was given and what is allowed.
    """
    path = Path(path)
    tree = apply_overrides(path, list(overrides), "the parameters in")
    missing = next(find_missing(tree, Params), None)
    try:
        params = Params.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error, missing)}") from None
    if missing:
        raise UserError(f"{path}: {missing} is missing")
    return params


def find_missing(tree: Mapping[str, Any], section: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the full keys of the fields that `tree` lacks, whether or not they have a default.

    Args:
        tree: values by key, as they stand in a file.
        section: the section that they are for.
        prefix: what the keys are yielded behind.
    """
    for key, field in section.model_fields.items():
        full_key, inner = f"{prefix}{key}", field.annotation
        if key not in tree:
            yield full_key
            continue
        parts = {full_key: tree[key]}
        if get_origin(inner) is dict and isinstance(tree[key], dict):  # runs: name → Run
            inner = get_args(inner)[-1]
            parts = {f"{full_key}.{name}": part for name, part in tree[key].items()}
        if isinstance(inner, type) and issubclass(inner, Section):
            for path, part in parts.items():
                if isinstance(part, dict):
                    yield from find_missing(part, inner, f"{path}.")


def _explain(error: ValidationError, missing: str | None) -> str:
    """Return the first fault as one line: key, what was given, what is allowed."""
    faults = error.errors()
    # A misspelt key is also a missing one: the misspelling is what helps.
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), None)
    if fault is None and missing:
        return f"{missing} is missing"
    fault = fault or faults[0]
    path = [str(part) for part in fault["loc"]]
    key, given = ".".join(path), fault.get("input")
    if fault["type"] == "value_error":  # our own checks: the message is complete
        return str(fault["ctx"]["error"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key}={given!r}{name_nearest(path[-1], _keys_at(path[:-1]))}"
    allowed = fault["msg"].removeprefix("Input should be ")
    return f"{key} is {given!r}: it must be {allowed}"


def _keys_at(path: list[str]) -> list[str]:
    """Return the keys of the section at `path`."""
    model: Any = Params
    for part in path:
        is_mapping = get_origin(model) is dict  # runs: name → Run
        model = get_args(model)[-1] if is_mapping else model.model_fields[part].annotation
    return list(getattr(model, "model_fields", {}))
