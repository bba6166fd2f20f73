"""The coparsing's parts; what it must compute as a whole is in properties/."""

import torch

from s2rm.model.fusion.coparse import SWEEPS, Bundle


def test_bundling_is_symmetric_along_the_slice_only() -> None:
    bundle = Bundle(6, 3).double()
    generator = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    rows = bundle(generator, 2)
    torch.testing.assert_close(bundle(generator.flip(3), 2), rows.flip(3))
    torch.testing.assert_close(bundle(generator.transpose(2, 3), 3), rows.transpose(2, 3))
    one_row = torch.zeros_like(generator)
    one_row[:, :, 1] = generator[:, :, 1]
    assert not bundle(one_row, 2)[:, :, [0, 2, 3]].any()


def test_rotations_cover_rows_and_columns_in_both_directions() -> None:
    assert sorted(SWEEPS) == [(2, False), (2, True), (3, False), (3, True)]
