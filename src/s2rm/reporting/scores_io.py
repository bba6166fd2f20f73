"""Read the outputs of evaluation (scores per expression) and training (history per validation)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2rm.core.errors import UserError
from s2rm.scoring.metrics import PROTOCOLS, compute_iou


def load_scores(path: Path) -> pd.DataFrame:
    """Load image_id, intersection and union at both sizes of every expression of a split.

    Args:
        path: results/<run>/<benchmark>-<split>.parquet.

    Raises:
        UserError: the file is missing, cannot be read, or is empty.
    """
    names = [f"{part}_{protocol}" for protocol in PROTOCOLS for part in ("intersection", "union")]
    return load_columns(path, ["image_id", *names])


def compute_ious(table: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return protocol → IoU (n,), 0…1, of the scores of a split."""
    return {
        protocol: compute_iou(table[f"intersection_{protocol}"], table[f"union_{protocol}"])
        for protocol in PROTOCOLS
    }


def load_columns(path: Path, names: list[str]) -> pd.DataFrame:
    """Load columns of the scores of a split.

    Args:
        path: results/<run>/<benchmark>-<split>.parquet.
        names: of the columns.

    Returns:
        One row per expression.

    Raises:
        UserError: the file is missing, cannot be read, lacks a column, or is empty.
    """
    try:
        table = pd.read_parquet(path, columns=names)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: evaluate the run first") from None
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read as a table of scores: {reason}") from None
    if table.empty:
        raise UserError(f"{path} holds no expression: evaluate the run again")
    return table


def load_history(path: Path) -> pd.DataFrame:
    """Load results/<run>/history.jsonl.

    Args:
        path: the file.

    Returns:
        One row per validation: epoch, step, train/… (the losses) and val/… (percent).

    Raises:
        UserError: the file is missing, cannot be read, or lacks a column.
    """
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        history = pd.DataFrame.from_records(records)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: train the run first") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as a history: {error}") from None
    wanted = ["epoch", "step", "train/loss", "val/mean/oIoU", "val/mean/mIoU"]
    missing = [name for name in wanted if name not in history]
    if missing:
        raise UserError(f"{path} has no {', '.join(missing)}: train the run again")
    return history
