"""What the stages share: where they run, who called them. Only this folder knows that DVC exists."""

import logging
import os
import subprocess
import sys
from pathlib import Path

# In an experiment's copy its own code runs, not that of the folder which the environment was made for.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from s2rm.errors import UserError

ROOT = Path(os.environ.get("DVC_ROOT", Path.cwd()))  # the project, also inside an experiment's copy
RAW, WEIGHTS, PREPARED, MODELS, RESULTS, REPORTS = map(
    Path, ("data/raw", "data/weights", "data/prepared", "models", "results", "reports")
)
METRICS = REPORTS / "metrics"


def set_up_logging() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("httpx", "httpx2", "huggingface_hub", "matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have whole addresses, with secrets


def is_offline() -> bool:
    """Whether the network is forbidden: by --offline, the only argument, or by $S2RM_OFFLINE."""
    if sys.argv[1:] not in ([], ["--offline"]):
        raise UserError(f"unknown arguments {' '.join(sys.argv[1:])}: --offline is the only one")
    return bool(sys.argv[1:]) or os.environ.get("S2RM_OFFLINE", "0") not in ("", "0")


def tags() -> dict[str, str]:
    """What MLflow is told about where a run comes from; an empty value is left out."""
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
