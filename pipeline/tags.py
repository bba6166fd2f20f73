"""The name of a run in MLflow, and the tags that say where it comes from."""

import getpass
import os
import platform
import subprocess
from pathlib import Path

from paths import ROOT

from s2rm.ablation.full_model import load_full
from s2rm.ablation.variants import name_variant
from s2rm.config.params import Params
from s2rm.core.errors import UserError


def collect_tags() -> dict[str, str]:
    """Return the tags of a run of this stage: DVC's experiment, baseline and stage, git, user and machine.

    What is not known, such as the experiment of a plain `dvc repro`, is left out.
    """
    known = {
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "dvc.stage": (stage := os.environ.get("DVC_STAGE", "")),
        "mlflow.source.git.commit": _git("rev-parse", "HEAD"),
        "mlflow.source.git.branch": _git("branch", "--show-current"),
        "dirty": str(
            bool(_git("status", "--porcelain", "--untracked-files=no", "--", "src", "pipeline"))
        ).lower(),
        "mlflow.source.name": f"dvc repro {stage}" if stage else "",
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
    try:
        variant = name_variant(params, load_full()[0])
    except UserError:  # the committed parameters are not valid
        variant = "?"
    tags = {"run": name, "variant": variant, "seed": str(params.train.seed), "device": device}
    if preset := _find_preset():
        tags["preset"] = preset
    parts = [variant, f"seed {params.train.seed}"]
    return " · ".join([name, *parts] if len(params.runs) > 1 else parts), tags


def _find_preset() -> str | None:
    """Return which of the presets the committed params.yaml is."""
    committed = _git("show", "HEAD:./params.yaml")
    presets = sorted((ROOT / "presets").glob("*.yaml"))
    return next((path.stem for path in presets if _read(path) == committed), None)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in a container
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()
