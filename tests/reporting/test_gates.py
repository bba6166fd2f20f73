"""The figure of the gates: of which expression, what is in it, and that its directions are true."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from report_inputs import make_example, make_view

from s2rm.config.params import Evaluate
from s2rm.evaluation.evaluate import evaluate_benchmarks
from s2rm.model.fusion.coparse import SWEEPS
from s2rm.model.hooks import watch_stage
from s2rm.model.scan import sweep
from s2rm.predictor import Predictor
from s2rm.reporting import gates
from s2rm.reporting.curves import DPI
from s2rm.reporting.examples import pick_examples
from s2rm.reporting.gates import SENSES, SweepView, collect_view, draw_gates, name_direction

BENCHMARKS = ["refcoco_unc", "referit_berkeley"]


@pytest.fixture(scope="module")
def trained(build_tiny, tiny_tokenizer, tiny_data, tmp_path_factory) -> Path:
    """A folder with a model of which stage 1 is not fused, and its results."""
    folder = tmp_path_factory.mktemp("trained")
    model = build_tiny("fusion.stages=[2, 4]").float()
    model.save_pretrained(folder / "model", tiny_tokenizer)
    evaluate_benchmarks(
        folder / "model",
        BENCHMARKS,
        prepared=tiny_data.prepared,
        raw=tiny_data.raw,
        output=folder / "results",
        params=Evaluate(images_per_batch=4, threshold=0.5, precision="float32", workers=0),
    )
    return folder


@pytest.fixture
def collect(trained, tiny_data):
    return lambda benchmarks=BENCHMARKS, source="refshapes": collect_view(
        trained / "model",
        trained / "results",
        benchmarks,
        source=source,
        prepared=tiny_data.prepared,
        raw=tiny_data.raw,
        threshold=0.5,
    )


def pixels_of(path: Path) -> NDArray[np.int16]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def test_the_view_is_of_the_median_expression_in_the_finest_fused_stage(collect, trained) -> None:
    view = collect()
    scores = pick_examples(pd.read_parquet(trained / "results" / "refcoco_unc-val.parquet"), 1)
    assert view.example.iou == scores["iou"].item()
    assert view.example.title == "RefShapes refcoco_unc val"
    assert view.stage == 2
    predictor = Predictor.from_pretrained(trained / "model")
    with watch_stage(predictor.model, 2) as seen:
        predictor.predict(view.example.image, [view.example.expression])
    assert view.places == seen.places
    assert view.gates.shape == view.shares.shape == (8, 8, 8)
    for k, place in enumerate(view.places):
        np.testing.assert_allclose(view.gates[k], seen.gates[place][0].mean(0), rtol=1e-5)
        np.testing.assert_allclose(view.shares[k], seen.shares[0, k], rtol=1e-5)
        assert view.weights[k] == pytest.approx(seen.weights[0, k].mean().item())
    assert view.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(view.shares.sum(0), 1, rtol=1e-5)


def test_the_first_benchmark_is_shown_unless_the_structured_one_is_there(
    collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert collect(BENCHMARKS[::-1], "folder").example.title == "ReferIt val"
    monkeypatch.setattr(gates, "SHOWN_FIRST", "referit_berkeley")
    assert collect().example.title == "RefShapes referit_berkeley val"


@pytest.mark.parametrize("rotation", range(4))
def test_a_direction_is_called_as_its_sweep_runs(rotation: int) -> None:
    """What lies in one place is remembered where the sweep goes from there, in the image's own places."""
    candidates = torch.zeros(5, 7)
    candidates[2, 3] = 1
    dim, reverse = SWEEPS[rotation]
    states = sweep(torch.full((1, 1, 5, 7), 0.5), candidates[None, None], dim, (reverse,))[0][0, 0]
    rows, columns = states.nonzero(as_tuple=True)
    name = next(
        name
        for name, there in {
            "rows ↓": (columns == 3).all() and rows.tolist() == [2, 3, 4],
            "rows ↑": (columns == 3).all() and rows.tolist() == [0, 1, 2],
            "columns →": (rows == 2).all() and columns.tolist() == [3, 4, 5, 6],
            "columns ←": (rows == 2).all() and columns.tolist() == [0, 1, 2, 3],
        }.items()
        if there
    )
    senses = {"↓": "top to bottom", "↑": "bottom to top", "→": "left to right", "←": "right to left"}
    assert name_direction(rotation) == name
    assert SENSES[SWEEPS[rotation]] == senses[name[-1]]


def test_the_figure_of_a_real_view(collect, tmp_path: Path) -> None:
    view = collect()
    first = draw_gates(tmp_path / "first.png", "tiny", view).read_bytes()
    assert first == draw_gates(tmp_path / "again.png", "tiny", view).read_bytes()
    assert b"Software" not in first


@pytest.mark.parametrize(
    ("roles", "rotations", "size"), [(2, 4, (60, 40)), (1, 2, (30, 90))], ids=["whole", "reduced"]
)
def test_each_sweep_has_a_panel_of_its_own(
    tmp_path: Path, roles: int, rotations: int, size: tuple[int, int]
) -> None:
    """Where the figure changes when one map does: side by side by rotation, below each other by role."""
    view = make_view(make_example(width=size[0], height=size[1]), tuple(gates.ROLES)[:roles], rotations)
    panel = np.array([gates.PANEL * size[1] / size[0], gates.PANEL])
    drawn = pixels_of(draw_gates(tmp_path / "gates.png", "joint", view))
    beside = 2 * gates.MARGIN + gates.EXAMPLE + gates.LABELS - gates.GAP
    assert drawn.shape[1] == pytest.approx(DPI * (beside + rotations * (gates.PANEL + gates.GAP)), abs=2)
    centres = []
    for k in range(len(view.places)):
        maps = view.gates.copy()
        maps[k] = maps[k, ::-1, ::-1]  # the scale stays as it is
        changed = pixels_of(
            draw_gates(tmp_path / "gates.png", "joint", dataclasses.replace(view, gates=maps))
        )
        places = np.argwhere(np.abs(changed - drawn).max(2) > 30)
        low, high = places.min(0) / DPI, places.max(0) / DPI
        assert high - low == pytest.approx(panel, abs=0.15)
        centres.append((low + high) / 2)
    rows, columns = np.moveaxis(np.reshape(centres, (roles, rotations, 2)), 2, 0)
    np.testing.assert_allclose(np.diff(columns, axis=1), gates.PANEL + gates.GAP, atol=0.15)
    np.testing.assert_allclose(np.ptp(rows, axis=1), 0, atol=0.15)
    assert (np.diff(rows, axis=0) > 2 * panel[0]).all()


@pytest.mark.parametrize("expression", ["the one for $5 not $6_", "$\\frac$", "a word " * 60, "x" * 300, ""])
def test_any_expression_is_drawn_as_it_is(tmp_path: Path, expression: str) -> None:
    assert draw_gates(tmp_path / "gates.png", "joint", make_view(make_example(expression))).is_file()


@pytest.mark.parametrize("fill", [True, False])
def test_a_truth_without_an_outline_and_flat_maps(tmp_path: Path, fill: bool) -> None:
    view: SweepView = make_view()
    example = dataclasses.replace(view.example, truth=np.full((40, 60), fill))
    flat = dataclasses.replace(view, example=example, gates=np.full_like(view.gates, 0.5))
    assert draw_gates(tmp_path / "gates.png", "joint", flat).is_file()
