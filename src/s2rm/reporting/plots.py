"""Write the curves as tables, with which `dvc plots` overlays the same runs of two commits."""

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


def precision_table(ious: dict[str, Ious]) -> pd.DataFrame:
    """Tabulate P@X for STEPS + 1 thresholds.

    Args:
        ious: run → its IoUs.

    Returns:
        run, benchmark, split, protocol, threshold, precision (percent).
    """
    thresholds = np.round(np.arange(STEPS + 1) / STEPS, 2)
    parts = [
        pd.DataFrame(
            {
                "run": run,
                "benchmark": benchmark,
                "split": split,
                "protocol": protocol,
                "threshold": thresholds,
                "precision": share_above(iou, thresholds).round(4),
            }
        )
        for run, splits in ious.items()
        for (benchmark, split), protocols in splits.items()
        for protocol, iou in protocols.items()
    ]
    return pd.concat(parts, ignore_index=True)


def training_table(histories: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Join the histories of the runs.

    Args:
        histories: run → its history, as `load_history` returns it.

    Returns:
        run, step, epoch, the parts of the loss, val/mean/oIoU, val/mean/mIoU, and both of each benchmark.
    """
    table = pd.concat([history.assign(run=run) for run, history in histories.items()], ignore_index=True)
    losses = ["train/loss", *(name for name in table.filter(like="train/") if name != "train/loss")]
    scores = [f"val/{name}/{metric}" for name in ("mean", *ALL_BENCHMARKS) for metric in ("oIoU", "mIoU")]
    return table[["run", "step", "epoch", *losses, *(name for name in scores if name in table)]]


def write_plots(ious: dict[str, Ious], histories: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Write <folder>/training.csv and <folder>/precision.csv; return their paths.

    Args:
        ious: run → its IoUs.
        histories: run → its history.
        folder: reports/plots.
    """
    tables = {"training": training_table(histories), "precision": precision_table(ious)}
    return [
        replace_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        for name, table in tables.items()
    ]
