"""Where the stages read and write."""

import os
from pathlib import Path

from s2rm.core import project
from s2rm.core.errors import UserError

ROOT = Path(os.environ.get("DVC_ROOT", Path.cwd()))  # the project, also inside an experiment's copy
SCRATCH = ROOT / project.SCRATCH

DIGESTS = project.DIGESTS
RAW, WEIGHTS, PREPARED = project.RAW, project.WEIGHTS, project.PREPARED
MODELS, RESULTS, REPORTS = project.MODELS, project.RESULTS, project.REPORTS

# In results/<run>/
HISTORY = "history.jsonl"  # of the training, as in models/<run>/
RUN_ID = "mlflow.json"  # the id of the training's record
INCOMPLETE = "data/incomplete.json"  # the benchmarks of which the data are only a part
TABLES = "data/tables.json"  # the digests of the prepared tables, by file
OVERLAP = "data/split_overlap.parquet"  # see s2rm.data.split_overlap.report_shared


def refuse_links() -> None:
    """Refuse output folders that are links: DVC would notice it only after the stage has done its work.

    Raises:
        UserError: there is one.
    """
    for folder in (RAW.parent, MODELS, RESULTS):
        if folder.is_symlink():
            raise UserError(
                f"{folder} is a link to {folder.readlink()}, and DVC keeps no output outside of the project: "
                "make it a folder; `dvc cache dir --local FOLDER` has the data on another disk "
                "(docs/sharing.md#another-disk)"
            )
