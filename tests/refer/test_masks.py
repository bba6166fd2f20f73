"""Masks: run lengths are exact, unions are unions, and no input reaches pycocotools unchecked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from s2rm.data.rle import SegmentationError, decode, encode
from s2rm.refer.masks import rasterise

SQUARE = [2, 4, 10, 4, 10, 12, 2, 12]  # 8 × 8 pixels at x=2, y=4
bitmaps = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(bitmaps)
def test_round_trip(mask: np.ndarray) -> None:
    assert np.array_equal(decode(encode(mask), *mask.shape), mask)


@given(bitmaps.filter(np.any))
def test_every_form_of_rle_gives_the_same_mask(mask: np.ndarray) -> None:
    size, counts = list(mask.shape), encode(mask)
    flat = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(np.diff(flat.astype(int)))
    runs = np.diff([0, *edges, mask.size]).tolist()
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    for given_counts in (counts, counts.encode(), runs):
        rle = {"size": size, "counts": given_counts}
        for segmentation in (rle, [rle], [rle, rle]):
            made = rasterise(segmentation, *mask.shape)
            assert np.array_equal(decode(made.counts, *mask.shape), mask)
            assert (made.area, made.box, made.repairs) == (mask.sum(), box, ())


def test_a_polygon_covers_its_pixels() -> None:
    mask = rasterise([SQUARE], 20, 30)
    wanted = np.zeros((20, 30), bool)
    wanted[4:12, 2:10] = True
    assert np.array_equal(decode(mask.counts, 20, 30), wanted)
    assert (mask.area, mask.box, mask.repairs) == (64, (2, 4, 8, 8), ())


def test_parts_are_united_where_they_overlap() -> None:
    shifted = [x + 4 * (index % 2 == 0) for index, x in enumerate(SQUARE)]
    assert rasterise([SQUARE, shifted], 20, 30).area == 8 * 12


def test_polygons_and_rles_mix() -> None:
    other = np.zeros((20, 30), bool)
    other[:, 29] = True
    assert rasterise([SQUARE, {"size": [20, 30], "counts": encode(other)}], 20, 30).area == 64 + 20


def test_two_points_are_not_a_box() -> None:
    """pycocotools takes four numbers for a box."""
    mask = rasterise([SQUARE, [0, 0, 30, 20]], 20, 30)
    assert (mask.area, mask.repairs) == (64, ("polygon_points",))


POINTS = [[2, 4], [10, 4], [10, 12], [2, 12]]
OTHER = [20, 4, 26, 4, 26, 12, 20, 12]


@pytest.mark.parametrize(
    ("given_form", "polygons"),
    [
        (SQUARE, [SQUARE]),
        ([float(value) for value in SQUARE], [SQUARE]),
        (POINTS, [SQUARE]),
        ([POINTS], [SQUARE]),
        ([POINTS, OTHER], [SQUARE, OTHER]),
        ([OTHER, POINTS], [SQUARE, OTHER]),
        ([POINTS, [[2.0, 4], [10, 4], [10, 12]]], [SQUARE]),
    ],
)
def test_polygons_in_other_forms_give_the_same_mask(given_form: Any, polygons: Any) -> None:
    mask, expected = rasterise(given_form, 20, 30), rasterise(polygons, 20, 30)
    assert mask.counts == expected.counts
    assert (mask.repairs, expected.repairs) == (("polygon_form",), ())


def test_run_lengths_may_be_whole_floats_text_or_bytes() -> None:
    mask = rasterise({"size": [20, 30], "counts": [10, 20, 570]}, 20, 30)
    for counts in ([10.0, 20.0, 570.0], mask.counts, mask.counts.encode()):
        assert rasterise({"size": [20, 30], "counts": counts}, 20, 30) == mask
    with pytest.raises(SegmentationError, match="not run lengths"):
        rasterise({"size": [20, 30], "counts": [10.5, 20, 569.5]}, 20, 30)
    with pytest.raises(SegmentationError, match=r"size is \[width, height\]"):
        rasterise({"size": [30, 20], "counts": [600]}, 20, 30)


@given(
    st.lists(
        st.tuples(st.floats(-60, 90, allow_subnormal=False), st.floats(-60, 80, allow_subnormal=False)),
        min_size=3,
        max_size=8,
    )
)
def test_a_polygon_is_cut_at_the_border(points: list[tuple[float, float]]) -> None:
    """As if drawn on a canvas with a margin that is cut off, except for rounding points to ⅕ pixel."""
    polygon = [value for point in points for value in point]
    try:
        mask = decode(rasterise([polygon], 20, 30).counts, 20, 30)
    except SegmentationError:  # nothing of it lies in the image
        mask = np.zeros((20, 30), bool)
    drawn = coco.decode(coco.frPyObjects([[value + 100 for value in polygon]], 220, 230)[0])
    outline = sum(abs(np.roll(points, 1, axis=0) - points).max(axis=1))
    assert (mask != drawn[100:120, 100:130]).sum() <= 0.2 * outline + 1


@pytest.mark.parametrize(
    ("segmentation", "kind"),
    [
        ([], "mask_empty"),
        ([[1, 1, 5, 5]], "mask_empty"),
        ([[31, 1, 40, 1, 40, 9]], "mask_empty"),
        ([[3, 3, 3, 3, 3, 3]], "mask_empty"),
        ({"size": [20, 30], "counts": [600]}, "mask_empty"),
        ({"size": [30, 20], "counts": [600]}, "mask_size"),
        ({"size": [20, 30]}, "malformed_segmentation"),
        ({"size": 7, "counts": [600]}, "malformed_segmentation"),
        ({"size": [20, 30], "counts": 5}, "malformed_segmentation"),
        ([SQUARE, None], "malformed_segmentation"),
        ([SQUARE, [1, 2, 3, 4, 5, 6, 7]], "malformed_segmentation"),
        ([SQUARE, [1, 2, 3, 4, 5, float("nan")]], "malformed_segmentation"),
        ([SQUARE, ["1", "2", "3", "4", "5", "6"]], "malformed_segmentation"),
        ([[[1, 2], [3], [5, 6]]], "malformed_segmentation"),
        ([0.1, 0.2, 0.9, 0.2, 0.9, 0.8], "malformed_segmentation"),  # not pixels
        ([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], "malformed_segmentation"),
        ("polygon", "malformed_segmentation"),
    ],
)
def test_what_gives_no_mask_says_why(segmentation: Any, kind: str) -> None:
    with pytest.raises(SegmentationError) as caught:
        rasterise(segmentation, 20, 30)
    assert caught.value.kind == kind


@pytest.mark.hostile
@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [20, 30], "counts": [5, 10**9, 3]},
        {"size": [20, 30], "counts": [599]},
        {"size": [20, 30], "counts": [700, -100]},
        {"size": [20, 30], "counts": [2**80]},
        {"size": [20, 30], "counts": [True] * 600},
        {"size": [20, 30], "counts": []},
        {"size": [20, 30], "counts": ""},
        {"size": [20, 30], "counts": "0"},
        {"size": [20, 30], "counts": "o"},
        {"size": [20, 30], "counts": "hb" + "P" * 20 + "0"},  # 600, and zeros beyond its 64 bits
        {"size": [20, 30], "counts": "é"},
        {"size": [20, 30], "counts": "le0lL"},  # 700, −100
        [[0, 0, 1e9, 0, 1e9, 1e9]],  # an outline of 10⁹ pixels
        [[0, 0, 30, 20] * 100_000 + [0, 20]],
    ],
)
def test_input_that_would_overrun_memory_is_refused(segmentation: Any) -> None:
    with pytest.raises(SegmentationError) as caught:
        rasterise(segmentation, 20, 30)
    assert caught.value.kind == "malformed_segmentation"


@pytest.mark.hostile
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
def test_any_counts_are_a_mask_or_an_error(counts: str) -> None:
    try:
        mask = decode(counts, 5, 7)
    except SegmentationError:
        return
    assert mask.shape == (5, 7)
    assert np.array_equal(decode(encode(mask), 5, 7), mask)


@pytest.mark.real
def test_real_masks_match_pillow(real_data: Path) -> None:
    """Pillow fills each polygon on its own and numpy unites them: no code in common with ours."""
    instances = json.loads((real_data / "refcoco" / "instances.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
    several = 0
    for annotation in instances["annotations"]:
        height, width = sizes[annotation["image_id"]]
        mask = rasterise(annotation["segmentation"], height, width)
        ours = decode(mask.counts, height, width)
        assert ours.sum() == mask.area
        if isinstance(annotation["segmentation"], dict):
            counts = annotation["segmentation"]["counts"]
            drawn = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
            assert np.array_equal(ours, drawn)
            continue
        several += len(annotation["segmentation"]) > 1
        drawn, outline = np.zeros((height, width), bool), 0.0
        for polygon in annotation["segmentation"]:
            canvas = Image.new("1", (width, height))
            ImageDraw.Draw(canvas).polygon(polygon, fill=1)
            drawn |= np.asarray(canvas)
            corners = np.reshape(polygon, (-1, 2))
            outline += np.hypot(*(corners - np.roll(corners, 1, axis=0)).T).sum()
        assert (ours != drawn).sum() <= outline + 4  # Pillow sets the pixels on the outline, too
    assert several


@pytest.mark.hostile
def test_a_polygon_of_a_hundred_thousand_vertices_is_a_mask() -> None:
    angles = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    circle = np.stack([320 + 200 * np.cos(angles), 240 + 200 * np.sin(angles)], axis=1)
    mask = rasterise([circle.ravel().tolist()], 480, 640)
    assert mask.area == pytest.approx(np.pi * 200**2, rel=0.01)


@pytest.mark.hostile
def test_a_zigzag_that_would_take_gigabytes_is_refused() -> None:
    corners = [coordinate for _ in range(100_000) for coordinate in (0, 0, 640, 480)]
    with pytest.raises(SegmentationError, match="outline"):
        rasterise([corners], 480, 640)


@pytest.mark.hostile
@pytest.mark.parametrize("points", [[5.0, 5.0], [5.0, 5.0, 9.0, 9.0], []])
def test_a_polygon_of_too_few_points_is_left_out(points: list[float]) -> None:
    mask = rasterise([points, SQUARE], 20, 30)
    assert mask.repairs == ("polygon_points",)
    assert mask.area == rasterise([SQUARE], 20, 30).area
