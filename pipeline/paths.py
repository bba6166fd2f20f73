"""Where the stages read and write."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("DVC_ROOT", Path.cwd()))  # the project, also inside an experiment's copy
SCRATCH = ROOT / ".scratch"  # unfinished work, which DVC must not delete before it runs a stage

# Relative to the folder of dvc.yaml; an experiment's copy has its own.
DIGESTS = Path(".digests")
RAW, WEIGHTS, PREPARED = Path("data/raw"), Path("data/weights"), Path("data/prepared")
MODELS, RESULTS, REPORTS = Path("models"), Path("results"), Path("reports")
METRICS = REPORTS / "metrics"

# In results/<run>/
HISTORY = "history.jsonl"  # of the training, as in models/<run>/
RUN_ID = "mlflow.json"  # the id of the training's record
INCOMPLETE = "data/incomplete.json"  # the benchmarks of which the data are only a part
OVERLAP = "data/split_overlap.parquet"  # see s2rm.data.split_overlap.report_shared
