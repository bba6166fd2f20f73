"""Write docs/parameters.md from the descriptions of the parameters and the values of params.yaml.

From the project's root: `python -m s2rm.config.parameter_docs > docs/parameters.md`.
"""

import json
import sys
from typing import Any

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import exit_on_user_error

INTRODUCTION = """\
# Parameters

This page is written by `python -m s2rm.config.parameter_docs > docs/parameters.md` from the descriptions in
[src/s2rm/config](../src/s2rm/config); a test fails where the two differ. Change a description there.

All parameters are in [params.yaml](../params.yaml), and nowhere else. [presets](../presets) has the same keys
at other scales: `cp presets/paper.yaml params.yaml`. To change one value for one experiment:
`dvc exp run -S fusion.balancing=false`. A parameter file is complete: a key that is missing, misspelt or not
allowed is refused in one line, and so is a switch that another one makes idle ([method.md](method.md)).

As a library, the sections also work without a file: `Fusion()` is the full method at the paper's scale.
"""
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "multiple of {}",
}
KINDS = {"string": "text", "object": "mapping", "boolean": "`true`, `false`", "null": "`null`"}


def build_reference(params: Params) -> str:
    """Return the reference of all parameters as Markdown: one table per section.

    Args:
        params: the values to list as defaults.
    """
    schema, values = Params.model_json_schema(), params.model_dump(mode="json")
    parts = [INTRODUCTION]
    for key, field in schema["properties"].items():
        parts += _write_section(key, field, values[key], schema["$defs"])
    return "\n".join(parts)


def _write_section(key: str, field: dict[str, Any], values: Any, definitions: dict[str, Any]) -> list[str]:
    """Return the heading, the purpose and the table of a section, and then those of its inner sections."""
    if "additionalProperties" in field:  # runs: name → section; all have the same keys
        key, field, values = f"{key}.<name>", field["additionalProperties"], next(iter(values.values()))
    section = definitions[field["$ref"].rpartition("/")[-1]]
    lines = [
        f"## `{key}`\n",
        section["description"].partition("\n")[0] + "\n",
        "| key | allowed | in params.yaml | description |",
        "|---|---|---|---|",
    ]
    inner: list[str] = []
    for name, each in section["properties"].items():
        if "$ref" in each:
            inner += _write_section(f"{key}.{name}", each, values[name], definitions)
            continue
        cells = (f"`{key}.{name}`", _write_allowed(each), _write_value(values[name]), each["description"])
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return [*lines, "", *inner]


def _write_allowed(field: dict[str, Any]) -> str:
    """Return what a JSON schema allows, in a few words."""
    if "anyOf" in field:
        return " or ".join(_write_allowed(each) for each in field["anyOf"])
    if "enum" in field:
        return ", ".join(_write_value(value) for value in field["enum"])
    if field["type"] == "array":
        least, most = field.get("minItems", 0), field.get("maxItems")
        many = f"list of {least}" if least == most else "list, not empty" if least else "list"
        return f"{many}: {_write_allowed(field['items'])}"
    bounds = [text.format(field[bound]) for bound, text in BOUNDS.items() if bound in field]
    return ", ".join([KINDS.get(field["type"], field["type"]), *bounds])


def _write_value(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def main() -> None:
    """Print the reference with the values of ./params.yaml."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(build_reference(load_params()))


if __name__ == "__main__":
    exit_on_user_error(main)
