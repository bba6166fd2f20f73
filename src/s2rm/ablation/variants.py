"""What makes a model another one: parameters compared with those of the *full model*, params.yaml as it is.

A variant differs from it in the sections of VARIES alone: data, splits and threshold are the same, so that
the numbers compare. What only a machine cares about is ignored; `train.seed` tells a variant's runs apart.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from s2rm.config.params import Params, flatten

VARIES = ("vision", "language", "fusion", "decoder", "loss", "train")
IGNORED = (
    "train.seed",
    "train.device",
    "train.workers",
    "train.activation_checkpointing",
    "train.log_every",
)
FULL = "full"
_SEPARATOR = ", "


def name_variant(params: Params, full: Params) -> str:
    """What differs: "fusion.coparsing=none, train.epochs=6"; FULL where nothing does."""
    found = _varying(params)
    keys = find_differing(found, _varying(full))
    return _SEPARATOR.join(f"{key}={_text(found.get(key))}" for key in keys) or FULL


def order_variants(names: Iterable[str], full: Params) -> list[str]:
    """The full model, then what differs in one key, in the order of the parameters, then in more."""
    keys = list(_varying(full))

    def place(name: str) -> tuple[int, list[int], str]:
        named = [] if name == FULL else [part.partition("=")[0] for part in name.split(_SEPARATOR)]
        return len(named), [keys.index(key) if key in keys else len(keys) for key in named], name

    return sorted(names, key=place)


def must_equal(params: Params, runs: Iterable[str]) -> dict[str, Any]:
    """Key → value of what must be the same for numbers of these runs to compare."""
    tree = params.model_dump(include={"data", "preprocess"})
    tree["runs"] = {name: params.get_run(name).model_dump() for name in runs}
    return flatten(tree) | {"evaluate.threshold": params.evaluate.threshold}


def describe_full(full: Params) -> dict[str, Any]:
    """Key → value of all that names of variants are relative to."""
    return must_equal(full, full.runs) | _varying(full)


def find_differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The keys of which the values differ, or that only one of them has."""
    return [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]


def _varying(params: Params) -> dict[str, Any]:
    flat = flatten(params.model_dump(include=set(VARIES)))
    return {key: value for key, value in flat.items() if key not in IGNORED}


def _text(value: Any) -> str:
    """As it is written behind `dvc exp run -S key=`."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
