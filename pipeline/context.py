"""What the stages share: where they run, who called them. Only this folder knows that DVC exists."""

import logging
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

# In an experiment's copy its own code runs, not that of the folder which the environment was made for.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from s2rm.core.errors import UserError

ROOT = Path(os.environ.get("DVC_ROOT", Path.cwd()))  # the project, also inside an experiment's copy
RAW, WEIGHTS, PREPARED, MODELS, RESULTS, REPORTS = map(
    Path, ("data/raw", "data/weights", "data/prepared", "models", "results", "reports")
)
METRICS = REPORTS / "metrics"
LAUNCHED = "S2RM_LAUNCHED"  # set in what a launcher has started: not every launcher tells of itself


def set_up_logging() -> None:
    logging.basicConfig(level=logging.INFO if is_main_process() else logging.WARNING, format="%(message)s")
    for chatty in ("httpx", "httpx2", "huggingface_hub", "matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have whole addresses, with secrets


def launch() -> None:
    """Runs this stage by the launcher that $S2RM_LAUNCH names, and ends with its exit code.

    As `S2RM_LAUNCH="accelerate launch --num_processes 4" dvc repro`: how many processes there are is of the
    machine, not of the experiment, so it is no parameter. Inside of a launched process it does nothing.
    """
    launcher = os.environ.get("S2RM_LAUNCH", "")
    if not launcher or LAUNCHED in os.environ:
        return
    command = [*shlex.split(launcher), *sys.argv]
    try:
        process = subprocess.Popen(command, env={**os.environ, LAUNCHED: "1"})
    except OSError as error:
        raise UserError(f"$S2RM_LAUNCH is {launcher!r}: {error.strerror}") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: process.send_signal(number))
    sys.exit(process.wait())


def is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


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
