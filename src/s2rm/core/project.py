"""The folders of the project: where stages read and write, and whether they can."""

import os
from pathlib import Path

from s2rm.core.errors import UserError

# Relative to the folder of dvc.yaml; an experiment's copy has its own.
RAW, WEIGHTS, PREPARED = Path("data/raw"), Path("data/weights"), Path("data/prepared")
MODELS, RESULTS, REPORTS = Path("models"), Path("results"), Path("reports")
DIGESTS = Path(".digests")
SCRATCH = Path(".scratch")  # unfinished work, which DVC must not delete before it runs a stage
PIPELINE_FILE = "dvc.yaml"


def find_root(start: Path) -> Path | None:
    """Return the project that `start` is in: the nearest folder with a dvc.yaml, upward; None without one."""
    start = start.resolve()
    return next((path for path in (start, *start.parents) if (path / PIPELINE_FILE).is_file()), None)


def enter_project() -> Path:
    """Make the project's folder the current one, whichever of its folders the command was started in.

    Only entry points call it. Otherwise a command in a subfolder would begin a new store of runs there.

    Returns:
        The project's folder; the current one where there is none.
    """
    project = find_root(Path.cwd()) or Path.cwd()
    os.chdir(project)
    return project


def require_writable(*folders: Path) -> None:
    """Check that files can be written into these folders, which may not exist yet.

    Raises:
        UserError: one of them is not a folder, or cannot be written to; the message names it.
    """
    for folder in folders:
        if reason := explain_unwritable(folder):
            raise UserError(f"the output {folder} cannot be written: {reason}")


def explain_unwritable(folder: Path) -> str | None:
    """Say why files cannot be written into a folder, which may not exist yet; None where they can.

    A folder inside that cannot be written to counts, too: DVC deletes outputs before it runs their stage.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.exists():
        target = existing.readlink()
        return f"{existing} is a link to {target}, which does not exist; create it, or remove the link"
    if not existing.is_dir():
        return f"{existing} is not a folder; move it away"
    for path in (existing, *(Path(inner) for inner, _, _ in os.walk(folder))):
        if not os.access(path, os.W_OK | os.X_OK):
            return f"this user may not write to {path}; change its owner or its rights (chown, chmod)"
    return None
