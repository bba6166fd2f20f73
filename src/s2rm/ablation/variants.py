"""Name a variant by the parameters in which it differs from the *full model*, whose parameters are given.

A variant may differ in the sections of VARIES only: data, splits and threshold are the same, so that its
numbers are comparable. Parameters that matter to a machine only are ignored, and so is `train.seed`, which
identifies the runs of a variant.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from s2rm.config.benchmarks import DRAWN_ONLY
from s2rm.config.params import MACHINE, Params, flatten

VARIES = ("vision", "language", "fusion", "decoder", "loss", "train")
IGNORED = ("train.seed", *MACHINE)
FULL = "full"
_SEPARATOR = ", "


def name_variant(params: Params, full: Params) -> str:
    """Return what differs, as "fusion.coparsing=none, train.epochs=6"; FULL if nothing does."""
    found = _varying(params)
    keys = find_differing(found, _varying(full))
    return _SEPARATOR.join(f"{key}={_text(found.get(key))}" for key in keys) or FULL


def order_variants(names: Iterable[str], full: Params) -> list[str]:
    """Sort variants: the full model, then those that differ in one key, by key, then those in more."""
    keys = list(_varying(full))

    def rank(name: str) -> tuple[int, list[int], str]:
        named = [] if name == FULL else [part.partition("=")[0] for part in name.split(_SEPARATOR)]
        return len(named), [keys.index(key) if key in keys else len(keys) for key in named], name

    return sorted(names, key=rank)


def must_equal(params: Params, runs: Iterable[str]) -> dict[str, Any]:
    """Return the values by key that must be equal for the numbers of these runs to be comparable.

    Sizes of partitions that are not drawn are left out: a study stays valid when RefShapes gets a new one.
    """
    tree = params.model_dump(include={"data", "preprocess"})
    absent = [benchmark for name, benchmark in DRAWN_ONLY.items() if name not in params.data.benchmarks]
    for benchmark in absent:
        for size in ("train_images", "eval_images"):
            del tree["data"]["refshapes"][f"{benchmark.split_by}_{size}"]
    tree["runs"] = {name: params.get_run(name).model_dump() for name in runs}
    return flatten(tree) | {"evaluate.threshold": params.evaluate.threshold}


def describe_full(full: Params) -> dict[str, Any]:
    """Return the values by key that the names of variants are relative to."""
    return must_equal(full, full.runs) | _varying(full)


def find_differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, or which only one of the two has."""
    return [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]


def _varying(params: Params) -> dict[str, Any]:
    flat = flatten(params.model_dump(include=set(VARIES)))
    return {key: value for key, value in flat.items() if key not in IGNORED}


def _text(value: Any) -> str:
    """Write a value as it follows `dvc exp run -S key=`."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
