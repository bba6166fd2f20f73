"""Check the store in which trainings are recorded."""

import os
from pathlib import Path

from s2rm.checks.findings import Finding, attempt
from s2rm.config.params import Tracking
from s2rm.core.errors import UserError

DATABASE, SIGNATURE = "mlflow.db", b"SQLite format 3\0"


def check_recording(tracking: Tracking, root: Path) -> Finding:
    """Return what is found about the store of MLflow; a server is not asked.

    Args:
        tracking: the parameters of the tracking.
        root: folder of the project.
    """
    if not tracking.enabled:
        return Finding("MLflow", "ok", "tracking.enabled is false: nothing is recorded")
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return Finding("MLflow", "not checked", "MLFLOW_TRACKING_URI names the store")
    return attempt("MLflow", lambda: _check_database(root / DATABASE))


def _check_database(path: Path) -> str:
    if not path.exists():
        return f"{path.name} will be made"
    try:
        with path.open("r+b") as file:
            start = file.read(len(SIGNATURE))
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}; change its rights, or move it away"
        ) from None
    if start not in (SIGNATURE, b""):
        raise UserError(f"{path} is not a SQLite database: move it away, a new one will be made")
    return path.name
