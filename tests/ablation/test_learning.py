"""The figure of the learning curves."""

from pathlib import Path

import matplotlib.figure
import pandas as pd
import pytest

from s2rm.ablation.learning import draw_learning

NONE = "fusion.coparsing=none"


def make_curves(seeds: dict[tuple[str, str], int]) -> pd.DataFrame:
    rows = [
        (variant, "joint", seed, epoch, 10 * epoch, benchmark, 20.0 * epoch + seed, 50.0)
        for (variant, benchmark), count in seeds.items()
        for seed in range(count)
        for epoch in (1, 2)
    ]
    names = ["variant", "run", "seed", "epoch", "step", "benchmark", "mIoU", "oIoU"]
    return pd.DataFrame(rows, columns=names)


def test_a_panel_shows_the_variants_with_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr("s2rm.ablation.learning.save", lambda figure, path: (drawn.append(figure), path)[1])
    curves = make_curves(
        {
            ("full", "refshapes_structured"): 4,
            (NONE, "refshapes_structured"): 4,
            ("fusion.rotations=1", "refshapes_structured"): 3,
            ("full", "refshapes_two_hops"): 2,
            ("full", "refcoco_unc"): 3,
            ("full", "refcocog_umd"): 3,
        }
    )
    assert draw_learning(curves, tmp_path / "a.png") == tmp_path / "a.png"
    structured, others = drawn[0].axes
    assert structured.get_title() == "RefShapes structured"
    assert [line.get_label() for line in structured.lines if line.get_linewidth() == 2] == ["full", NONE]
    assert len(structured.lines) == 2 * (4 + 1)
    mean = structured.lines[4]
    assert mean.get_xdata().tolist() == [1, 2]
    assert mean.get_ydata().tolist() == [21.5, 41.5]
    assert others.get_title() == "mean of the other benchmarks"
    assert len(others.lines) == 3 + 1
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["full", NONE]


def test_few_seeds_are_no_figure(tmp_path: Path) -> None:
    assert draw_learning(make_curves({("full", "refcoco_unc"): 2}), tmp_path / "a.png") is None
    assert draw_learning(make_curves({}), tmp_path / "a.png") is None
    assert not list(tmp_path.iterdir())


def test_equal_numbers_give_equal_bytes(tmp_path: Path) -> None:
    curves = make_curves({("full", "refshapes_structured"): 3})
    one, other = (draw_learning(curves, tmp_path / name) for name in ("a.png", "b.png"))
    assert one is not None
    assert other is not None
    assert one.read_bytes() == other.read_bytes()
