"""Tags of MLflow runs that say which experiment and which commit a run comes from."""

import os
import subprocess

from paths import ROOT


def collect_tags() -> dict[str, str]:
    """Return the tags of a run of this stage: DVC's experiment, baseline and stage, and the git commit.

    What is not known, such as the experiment of a plain `dvc repro`, is left out.
    """
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    known = {
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "dvc.stage": os.environ.get("DVC_STAGE", ""),
        "mlflow.source.git.commit": revision,
    }
    return {name: value for name, value in known.items() if value}
