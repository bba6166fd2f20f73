"""Write the curves of the first run as tables, with which `dvc plots` overlays those of several commits."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2rm.config.benchmarks import ALL_BENCHMARKS
from s2rm.core.files import replace_text

STEPS = 20  # thresholds 0, 0.05, … 1

Ious = dict[tuple[str, str], dict[str, NDArray[np.float64]]]  # (benchmark, split) → protocol → IoU (n,)


def share_above(iou: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute P@X for each threshold X, the share of IoUs that are ≥ X.

    Args:
        iou: (n,), 0…1.
        thresholds: (m,).

    Returns:
        (m,), percent.
    """
    return 100 * (1 - np.searchsorted(np.sort(iou), thresholds, side="left") / len(iou))


def precision_table(ious: Ious) -> pd.DataFrame:
    """Tabulate P@X at the model's size for STEPS + 1 thresholds, on the first val split.

    `dvc plots` joins all points of a file by one line, so it has one split.

    Args:
        ious: of a run.

    Returns:
        threshold, precision (percent).
    """
    first = next((key for key in ious if key[1] == "val"), next(iter(ious)))
    thresholds = np.round(np.arange(STEPS + 1) / STEPS, 2)
    precision = share_above(ious[first]["model"], thresholds).round(4)
    return pd.DataFrame({"threshold": thresholds, "precision": precision})


def training_table(history: pd.DataFrame) -> pd.DataFrame:
    """Choose the columns of a history that plots show.

    Args:
        history: of a run, as `load_history` returns it.

    Returns:
        step, epoch, the parts of the loss, val/mean/oIoU, val/mean/mIoU, and both of each benchmark.
    """
    losses = ["train/loss", *(name for name in history.filter(like="train/") if name != "train/loss")]
    scores = [f"val/{name}/{metric}" for name in ("mean", *ALL_BENCHMARKS) for metric in ("oIoU", "mIoU")]
    return history[["step", "epoch", *losses, *(name for name in scores if name in history)]]


def write_plots(ious: Ious, history: pd.DataFrame, folder: Path) -> list[Path]:
    """Write <folder>/training.csv and <folder>/precision.csv of a run; return their paths.

    Args:
        ious: of the run.
        history: of the run.
        folder: reports/plots.
    """
    tables = {"training": training_table(history), "precision": precision_table(ious)}
    return [
        replace_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        for name, table in tables.items()
    ]
