"""Find the project that a command works on."""

import os
from pathlib import Path


def enter_project() -> Path:
    """Make the project's folder the current one, whichever of its folders the command was started in.

    Only entry points call it. Otherwise a command in a subfolder would begin a new store of runs there.

    Returns:
        The project's folder, the nearest one that holds dvc.yaml; the current one where there is none.
    """
    here = Path.cwd()
    project = next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()), here)
    os.chdir(project)
    return project
