"""Record trainings and evaluations: in a local journal, which is the truth, and from it in MLflow."""

from s2rm.tracking.address import find_store, has_store
from s2rm.tracking.mlflow_store import MlflowStore, RecordedRun

__all__ = ["MlflowStore", "RecordedRun", "find_store", "has_store"]
