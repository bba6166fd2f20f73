"""The key of a training: an unfinished training is continued only under the same key.

It covers all that decides the result: the parameters that decide what is learnt, the prepared tables, the
pretrained weights, the code that the train stage loads (code_digest.py) and the version of torch. Beside an
unfinished state lie the parts of its key, so that a training that starts over can say what has changed.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from code_digest import digest_scripts, join_names, list_changes
from context import CHECKOUT
from paths import ROOT, SCRATCH
from scratch import find_unfinished

from s2rm.acquire.hub.weights import RECORD
from s2rm.config.params import MACHINE, Params, Run
from s2rm.core.files import replace_text

logger = logging.getLogger(__name__)

SECTIONS = {"vision", "language", "fusion", "decoder", "loss", "train"}
PARTS_FILE = "key.json"
Parts = dict[str, dict[str, Any]]


def describe_training(params: Params, run: Run, prepared: Path, weights: Path) -> Parts:
    """Return the parts of a training's key: kind of part → name → value or digest.

    Args:
        params: all parameters; those of model, loss and training count.
        run: what is trained on.
        prepared: folder of the prepared tables.
        weights: folder of the pretrained encoders and their record.

    Raises:
        UserError: a module that the training loads is not valid Python.
    """
    sections = params.model_dump(mode="json", include=SECTIONS)
    parameters = {
        full_key: value
        for name, section in sections.items()
        for key, value in section.items()
        if (full_key := f"{name}.{key}") not in MACHINE
    }
    # A joint training drops the images of the evaluation splits of all benchmarks.
    tables = run.train_on if len(run.train_on) == 1 else params.data.benchmarks
    return {
        "parameters": {**parameters, "train_on": list(run.train_on)},
        "data": digest_tables(prepared, tables),
        "weights": {RECORD: _digest(weights / RECORD)},  # it contains the weights' checksums
        "libraries": {"torch": torch.__version__},
        "code": digest_scripts(CHECKOUT, ["pipeline.train"])["pipeline.train"],
    }


def digest_tables(prepared: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of the prepared tables of these benchmarks, by file."""
    return {f"{name}.parquet": _digest(prepared / f"{name}.parquet") for name in names}


def find_scratch(parts: Parts) -> Path:
    """Return the folder for the state of the training with these parts."""
    text = json.dumps(parts, sort_keys=True)
    return SCRATCH / hashlib.sha256(text.encode()).hexdigest()[:16]


def open_scratch(name: str, parts: Parts) -> Path:
    """Prepare the folder for the state of a training; log why an unfinished one is not continued.

    Args:
        name: name of the run.
        parts: what `describe_training` returned for it.

    Returns:
        The folder that `find_scratch` names.
    """
    scratch = find_scratch(parts)
    if not any(scratch.glob("state*.pt")):
        for folder in find_unfinished():
            other = _read_parts(folder)
            if other.pop("run", None) == name:
                logger.info(
                    "the training of %s starts over: since its unfinished state in %s, these changed: %s",
                    name,
                    folder.relative_to(ROOT),
                    explain_changes(other, parts),
                )
                break
    replace_text(scratch / PARTS_FILE, json.dumps({"run": name, **parts}, indent=2) + "\n")
    return scratch


def explain_changes(before: Parts, now: Parts) -> str:
    """Return in one line what differs between the parts of two trainings.

    For example "fusion.balancing (true, now false); code (s2rm.model.fusion.coparse)".
    """
    texts = []
    for kind, values in now.items():
        old = before.get(kind, {})
        names = list_changes(old, values)
        if kind == "parameters":
            texts += [f"{name} ({_show(old.get(name))}, now {_show(values.get(name))})" for name in names]
        elif kind == "libraries":
            texts += [f"{name} ({old.get(name)}, now {values.get(name)})" for name in names]
        elif names:
            texts.append(f"{kind} ({join_names(names)})")
    return "; ".join(texts)


def _read_parts(scratch: Path) -> dict[str, Any]:
    """Return the contents of a state's key file, {} where earlier versions wrote none."""
    try:
        return dict(json.loads((scratch / PARTS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _digest(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _show(value: Any) -> str:
    return json.dumps(value)
