"""The score as an estimate of IoU, by hand and against a plain recomputation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2rm.scoring.calibration import BINS, calibrate, expected_error


def test_by_hand() -> None:
    bins = calibrate([0.05, 0.92, 0.98, 1.0, np.nan], [0.15, 0.7, 0.9, 0.8, 0.3])
    assert bins["expressions"].tolist() == [1, *[0] * 8, 3]
    assert bins.iloc[-1].tolist() == pytest.approx([0.9, 1.0, 3, 2.9 / 3, 80])
    assert np.isnan(bins.loc[1, ["score", "IoU"]].astype(float)).all()
    assert expected_error(bins) == pytest.approx((10 + 3 * (290 / 3 - 80)) / 4)


def test_without_scores() -> None:
    bins = calibrate([np.nan, np.nan], [0.5, 0.6])
    assert bins.empty
    assert np.isnan(expected_error(bins))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_against_a_plain_recomputation(pairs: list[tuple[float, float]]) -> None:
    gaps = [
        sum(score - iou for score, iou in pairs if min(int(BINS * score), BINS - 1) == place)
        for place in range(BINS)
    ]
    bins = calibrate(*zip(*pairs, strict=True))
    assert expected_error(bins) == pytest.approx(100 * sum(map(abs, gaps)) / len(pairs), abs=1e-9)
