"""Compute oIoU, mIoU and P@X from the intersection and union of each expression.

The definitions are those of LAVT, DMMI and ReLA (see docs/evaluation.md): oIoU = Σ I / Σ U over all
expressions, mIoU = the mean of I / U, P@X = the share of expressions with I / U ≥ X. An empty union counts as
IoU 0. All metrics are in percent.

Masks are compared at two sizes, the protocols:

- `model`: the model's square input; the true mask is resized to it by the nearest pixel (LAVT, DMMI).
- `original`: the image's own size; the logits are resized to it bilinearly, the true mask is unchanged.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

PROTOCOLS = ("model", "original")
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
METRICS = ("oIoU", "mIoU", *(f"P_{threshold}" for threshold in THRESHOLDS))


def compute_iou(intersection: ArrayLike, union: ArrayLike) -> NDArray[np.float64]:
    """Return I / U of each expression, (n,), 0…1; an empty union counts as IoU 0.

    Args:
        intersection: (n,), pixels.
        union: (n,), pixels.
    """
    intersection, union = np.asarray(intersection, dtype=float), np.asarray(union, dtype=float)
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def reach(iou: NDArray[np.float64], threshold: float, strict: bool) -> NDArray[np.bool_]:
    """Return which IoUs count for P@threshold, (n,): those above it if `strict`, else equal ones as well."""
    return iou > threshold if strict else iou >= threshold


def segmentation_metrics(
    intersection: ArrayLike, union: ArrayLike, *, strict: bool = False
) -> dict[str, float]:
    """Compute all metrics of a split.

    Args:
        intersection: (n,), pixels, one value per expression.
        union: (n,), pixels.
        strict: whether P@X counts IoU > X rather than ≥ X.

    Returns:
        METRICS → percent.

    Raises:
        ValueError: there is no expression.
    """
    intersection, union = np.asarray(intersection, dtype=float), np.asarray(union, dtype=float)
    if not len(intersection):
        raise ValueError("no expression to score")
    iou = compute_iou(intersection, union)
    total = union.sum()
    metrics = {"oIoU": intersection.sum() / total if total else 0.0, "mIoU": iou.mean()}
    metrics |= {f"P_{threshold}": reach(iou, threshold, strict).mean() for threshold in THRESHOLDS}
    return {name: round(100 * float(value), 4) for name, value in metrics.items()}
