"""What evaluation and training left: scores an expression, history a validation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2rm.core.errors import UserError
from s2rm.evaluation.metrics import PROTOCOLS, compute_iou


def load_ious(path: Path) -> dict[str, NDArray[np.float64]]:
    """Protocol → IoU of each expression (n,), 0…1, of results/<run>/<benchmark>-<split>.parquet."""
    names = [f"{part}_{protocol}" for protocol in PROTOCOLS for part in ("intersection", "union")]
    table = load_columns(path, names)
    return {
        protocol: compute_iou(table[f"intersection_{protocol}"], table[f"union_{protocol}"])
        for protocol in PROTOCOLS
    }


def load_columns(path: Path, names: list[str]) -> pd.DataFrame:
    """Columns of results/<run>/<benchmark>-<split>.parquet, a row an expression."""
    try:
        table = pd.read_parquet(path, columns=names)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: evaluate the run first") from None
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        fault = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no readable table of scores: {fault}") from None
    if table.empty:
        raise UserError(f"{path} holds no expression: evaluate the run again")
    return table


def load_history(path: Path) -> pd.DataFrame:
    """models/<run>/history.jsonl: a row a validation, with epoch, step, train/… and val/…."""
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        history = pd.DataFrame.from_records(records)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: train the run first") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no readable history: {error}") from None
    wanted = ["epoch", "step", "train/loss", "val/mean/oIoU", "val/mean/mIoU"]
    missing = [name for name in wanted if name not in history]
    if missing:
        raise UserError(f"{path} has no {', '.join(missing)}: train the run again")
    return history
