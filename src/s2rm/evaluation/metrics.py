"""oIoU, mIoU and P@X from the intersections and unions of each expression.

The definitions are those of LAVT, DMMI and ReLA (see docs/evaluation.md): oIoU = Σ I / Σ U over all
expressions, mIoU = the mean of I / U, P@X = the share of expressions with I / U ≥ X. An empty
union counts as IoU 0. All in percent.
"""

import numpy as np
from numpy.typing import ArrayLike

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
METRICS = ("oIoU", "mIoU", *(f"P_{threshold}" for threshold in THRESHOLDS))


def segmentation_metrics(intersection: ArrayLike, union: ArrayLike) -> dict[str, float]:
    """
    Args:
        intersection, union: (n,), pixels, of each expression.

    Returns: METRICS → percent.
    """
    intersection, union = np.asarray(intersection, dtype=float), np.asarray(union, dtype=float)
    if not len(intersection):
        raise ValueError("no expression to score")
    iou = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    total = union.sum()
    metrics = {"oIoU": intersection.sum() / total if total else 0.0, "mIoU": iou.mean()}
    metrics |= {f"P_{threshold}": (iou >= threshold).mean() for threshold in THRESHOLDS}
    return {name: round(100 * float(value), 4) for name, value in metrics.items()}
