"""A small RefShapes, written once and read as anybody would read REFER data."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.config.params import RefShapes
from s2rm.refshapes import write_refshapes

PARAMS = RefShapes(
    seed=7, train_images=30, eval_images=10, structured_train_images=30, structured_eval_images=10
)


@dataclass(frozen=True)
class Written:
    root: Path
    refs: dict[str, list[dict[str, Any]]]  # by benchmark
    instances: dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    root = tmp_path_factory.mktemp("refshapes")
    write_refshapes(PARAMS, list(BENCHMARKS), root, progress=False)
    refs, instances = {}, {}
    for name, benchmark in BENCHMARKS.items():
        refs[name] = pickle.loads((root / name / f"refs({benchmark.split_by}).p").read_bytes())
        instances[name] = json.loads((root / name / "instances.json").read_text())
    return Written(root, refs, instances)
