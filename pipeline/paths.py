"""Where the stages read and write."""

import os
from pathlib import Path

from s2rm.core import project

ROOT = Path(os.environ.get("DVC_ROOT", Path.cwd()))  # the project, also inside an experiment's copy
SCRATCH = ROOT / project.SCRATCH

DIGESTS = project.DIGESTS
RAW, WEIGHTS, PREPARED = project.RAW, project.WEIGHTS, project.PREPARED
MODELS, RESULTS, REPORTS = project.MODELS, project.RESULTS, project.REPORTS

# In results/<run>/
HISTORY = "history.jsonl"  # of the training, as in models/<run>/
RUN_ID = "mlflow.json"  # the id of the training's MLflow run
INCOMPLETE = "data/incomplete.json"  # the benchmarks of which the data are only a part
OVERLAP = "data/split_overlap.parquet"  # see s2rm.data.split_overlap.report_shared
