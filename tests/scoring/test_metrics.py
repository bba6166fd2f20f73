"""oIoU, mIoU and P@X against a plain recomputation, and at their limits."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2rm.scoring.metrics import METRICS, segmentation_metrics

PAIRS = st.lists(
    st.integers(0, 500).flatmap(lambda union: st.tuples(st.integers(0, union), st.just(union))),
    min_size=1,
    max_size=40,
)


@given(PAIRS)
def test_metrics_equal_a_plain_recomputation(pairs: list[tuple[int, int]]) -> None:
    ious = [Fraction(i, u) if u else Fraction(0) for i, u in pairs]
    total = sum(u for _, u in pairs)
    expected = {"oIoU": Fraction(sum(i for i, _ in pairs), total) if total else Fraction(0)}
    expected["mIoU"] = sum(ious) / len(ious)
    for tenths in (5, 6, 7, 8, 9):
        reached = sum(iou >= Fraction(tenths, 10) for iou in ious)
        expected[f"P_0.{tenths}"] = Fraction(reached, len(ious))
    found = segmentation_metrics(*zip(*pairs, strict=True))
    assert tuple(found) == METRICS == tuple(expected)
    assert found == {name: pytest.approx(float(100 * value), abs=6e-5) for name, value in expected.items()}


def test_strict() -> None:
    """P@X of CRIS counts IoU > X."""
    assert segmentation_metrics([5, 6], [10, 10])["P_0.5"] == 100
    assert segmentation_metrics([5, 6], [10, 10], strict=True)["P_0.5"] == 50


@given(PAIRS, st.randoms())
def test_order_does_not_matter(pairs: list[tuple[int, int]], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(pairs, len(pairs))
    assert segmentation_metrics(*zip(*pairs, strict=True)) == pytest.approx(
        segmentation_metrics(*zip(*shuffled, strict=True)), abs=2e-4
    )


def test_an_empty_union_is_a_miss() -> None:
    found = segmentation_metrics([0, 10], [0, 10])
    assert found["mIoU"] == 50
    assert found["oIoU"] == 100
    assert set(segmentation_metrics([0], [0]).values()) == {0}


@pytest.mark.parametrize("tenths", [5, 6, 7, 8, 9])
@pytest.mark.parametrize("scale", [1, 3, 7, 1001])
def test_a_threshold_is_reached_by_equality(tenths: int, scale: int) -> None:
    union = 10 * scale
    assert segmentation_metrics([tenths * scale], [union])[f"P_0.{tenths}"] == 100
    assert segmentation_metrics([tenths * scale * 100 - 1], [union * 100])[f"P_0.{tenths}"] == 0


def test_large_images_weigh_more_in_oiou_only() -> None:
    found = segmentation_metrics(np.array([900, 1]), np.array([1000, 10]))
    assert found["oIoU"] == pytest.approx(100 * 901 / 1010, abs=1e-4)
    assert found["mIoU"] == pytest.approx(50)


def test_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="no expression"):
        segmentation_metrics([], [])
