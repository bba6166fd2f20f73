"""The name of a run in MLflow, and the tags that say where it comes from."""

import getpass
import os
import platform
from contextlib import suppress

from paths import ROOT
from revision import ask_git, has_changes

from s2rm.ablation.full_model import load_full
from s2rm.ablation.variants import FULL, name_variant
from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import UserError

LONGEST_NAME = 200  # characters; MLflow's databases have room for 250
MOST_SWITCHES = 3  # in the name of a run
UNKNOWN = "?"  # a variant, where the committed parameters cannot be read


def collect_tags() -> dict[str, str]:
    """Return the tags of a run of this stage: DVC's experiment, baseline and stage, git, user and machine.

    What is not known, such as the experiment of a plain `dvc repro`, is left out.
    """
    changed = has_changes()
    known = {
        "dvc.experiment": os.environ.get("DVC_EXP_NAME"),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV"),
        "dvc.stage": (stage := os.environ.get("DVC_STAGE")),
        "mlflow.source.git.commit": ask_git("rev-parse", "HEAD"),
        "mlflow.source.git.branch": ask_git("branch", "--show-current"),
        "dirty": None if changed is None else str(changed).lower(),
        "mlflow.source.name": f"dvc repro {stage}" if stage else None,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        "host": platform.node(),
    }
    return {name: value for name, value in known.items() if value}


def describe_run(params: Params, name: str, device: str) -> tuple[str, dict[str, str]]:
    """Return the name of a training in MLflow, and what identifies it among others.

    Args:
        params: all parameters.
        name: of the run.
        device: what it is trained on.
    """
    preset, variant = _find_preset(params, name), UNKNOWN
    if preset:
        variant = preset
    else:
        with suppress(UserError, OSError):  # the committed parameters are not valid, or git is missing
            full = load_full()[0]
            variant, preset = name_variant(params, full), _find_preset(full, name)
    tags = {"run": name, "variant": variant, "seed": str(params.train.seed), "device": device}
    if preset:  # of a variant: that of the committed parameters, from which it differs
        tags["preset"] = preset
    before = [name] if len(params.runs) > 1 else []
    seed = f"seed {params.train.seed}"
    room = LONGEST_NAME - len(" · ".join([*before, "", seed]))
    return " · ".join([*before, _shorten(variant, room), seed]), tags


def name_parameters(tags: dict[str, str]) -> str:
    """Say in words what the parameters of a run are, from the tags of `describe_run`."""
    preset, variant = tags.get("preset"), tags["variant"]
    if variant == UNKNOWN:
        return "other than any commit's"
    known = "params.yaml as committed" if preset is None else f"preset {preset}"
    return known if variant in (FULL, preset) else f"{known}, but {variant}"


def _shorten(variant: str, room: int) -> str:
    """Return the first switches of a variant, in at most so many characters."""
    switches = variant.split(", ")
    shown, left = ", ".join(switches[:MOST_SWITCHES]), len(switches) - MOST_SWITCHES
    more = f" and {left} more" if left > 0 else ""
    room -= len(more)
    return (shown if len(shown) <= room else f"{shown[: room - 1]}…") + more


def _find_preset(params: Params, name: str) -> str | None:
    """Return the preset that has the same model, training and data for this run, whatever the seed."""
    for path in sorted((ROOT / "presets").glob("*.yaml")):
        with suppress(UserError):  # somebody is editing it
            preset = load_params(path)
            same_data = name in preset.runs and _data_of(preset, name) == _data_of(params, name)
            if same_data and name_variant(params, preset) == FULL:
                return path.stem
    return None


def _data_of(params: Params, name: str) -> tuple[object, ...]:
    """Return what a run is trained and evaluated on, from wherever it is read."""
    data = params.data
    drawn = data.refshapes if data.source == "refshapes" else None
    return drawn, data.referit, data.benchmarks, params.preprocess, params.runs.get(name)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in a container
        return ""
