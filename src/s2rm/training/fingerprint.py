"""What a training depends on, as one digest: only a training of the same digest is continued."""

import hashlib
from pathlib import Path

import torch

import s2rm
from s2rm.acquire.hub.weights import RECORD
from s2rm.config.params import Params, Run

SECTIONS = {"vision", "language", "fusion", "decoder", "loss", "train"}


def fingerprint(params: Params, run: Run, prepared: Path, weights: Path) -> str:
    """Of the parameters that the training reads, the prepared tables, pretrained weights, code and torch."""
    digest = hashlib.sha256(torch.__version__.encode())
    digest.update(params.model_dump_json(include=SECTIONS).encode())
    digest.update(" ".join(run.train_on).encode())
    package = Path(s2rm.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    # Where several are trained on, the evaluation splits of all say what is left to train on.
    for name in run.train_on if len(run.train_on) == 1 else params.data.benchmarks:
        table = prepared / f"{name}.parquet"
        digest.update(table.read_bytes() if table.exists() else b"")
    record = weights / RECORD  # has the weights' checksums
    digest.update(record.read_bytes() if record.exists() else b"")
    return digest.hexdigest()[:16]
