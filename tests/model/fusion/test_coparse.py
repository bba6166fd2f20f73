"""The coparsing's parts; what it must compute as a whole is in properties/."""

import pytest
import torch

from s2rm.model.fusion.coparse import SWEEPS, Bundle


@pytest.mark.parametrize("bundling", ["slice", "kernel"])
def test_bundling_is_symmetric_along_the_slice_only(bundling: str) -> None:
    bundle = Bundle(6, 3, bundling).double()
    generator = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    rows = bundle(generator, 2)
    torch.testing.assert_close(bundle(generator.flip(3), 2), rows.flip(3))
    torch.testing.assert_close(bundle(generator.transpose(2, 3), 3), rows.transpose(2, 3))
    one_row = torch.zeros_like(generator)
    one_row[:, :, 1] = generator[:, :, 1]
    assert not bundle(one_row, 2)[:, :, [0, 2, 3]].any()


@pytest.mark.parametrize("bundling", ["slice", "kernel"])
@torch.no_grad()
def test_the_whole_slice_is_bundled_by_its_maximum(bundling: str) -> None:
    bundle = Bundle(6, 3, bundling).double()
    generator = torch.rand(2, 6, 4, 9, dtype=torch.float64)
    higher = generator.clone()
    higher[:, :, 1, 0] = 2  # the maximum of its row and of its column
    change = bundle(higher, 2) - bundle(generator, 2)
    assert not change[:, :, [0, 2, 3]].any()
    assert change[:, :, 1, :2].all()  # the kernel's reach
    assert change[:, :, 1, 2:].all() if bundling == "slice" else not change[:, :, 1, 2:].any()


def test_rotations_cover_rows_and_columns_in_both_directions() -> None:
    assert sorted(SWEEPS) == [(2, False), (2, True), (3, False), (3, True)]
