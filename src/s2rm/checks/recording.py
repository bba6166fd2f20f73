"""Check the store in which trainings are recorded."""

import os
from pathlib import Path

from s2rm.checks.findings import Finding, attempt
from s2rm.config.params import Tracking
from s2rm.core.errors import UserError
from s2rm.tracking.address import find_store
from s2rm.tracking.commands import check_store


def check_recording(tracking: Tracking, root: Path, *, offline: bool) -> Finding:
    """Return what is found about the store of MLflow.

    Args:
        tracking: the parameters of the tracking.
        root: folder of the project.
        offline: a server is not asked.
    """
    if not tracking.enabled:
        return Finding("MLflow", "ok", "tracking.enabled is false: nothing is recorded")
    return attempt("MLflow", lambda: _check(tracking, root, offline))


def _check(tracking: Tracking, root: Path, offline: bool) -> str:
    address = find_store(root)
    if address.database and not address.database.exists():  # to open it would make it
        folder = address.database.parent
        if not folder.is_dir():
            raise UserError(f"the MLflow store {address.shown}: there is no folder {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"the MLflow store {address.shown}: this user may not write to {folder}")
        return f"{address.shown} will be made"
    if offline and not address.database:
        return f"{address.shown}, which was not asked"
    check_store(root, tracking.experiment)
    return address.shown
