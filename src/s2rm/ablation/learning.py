"""Draw how soon each variant learns: val mIoU over the epochs, each seed thin and their mean thick."""

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from s2rm.ablation.variants import FULL
from s2rm.config.benchmarks import BENCHMARKS, DRAWN_ONLY
from s2rm.reporting.figures import STYLE, add_legend, save

SEEDS = 3  # a panel with fewer is not drawn
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9", "#999999")
DASHES = ("-", "--", "-.", ":")


def draw_learning(curves: pd.DataFrame, path: Path) -> Path | None:
    """Draw one panel for each drawn partition, and one for the mean of the other benchmarks.

    A panel shows the variants that have as many seeds as the full model.

    Args:
        curves: the learning curves of a study.
        path: the PNG file.

    Returns:
        `path`; None where the full model has too few seeds.
    """
    panels = _panels(curves)
    if not panels:
        return None
    shown = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    styles = {
        name: {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}
        for i, name in enumerate(shown)
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(panels), 4.0 + 0.17 * len(shown)), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, (title, by_variant) in zip(axes, panels.items(), strict=True):
            for name, by_seed in by_variant.items():
                panel.plot(by_seed, linewidth=0.6, alpha=0.5, **styles[name])
                panel.plot(by_seed.mean(axis=1), label=name, linewidth=2, **styles[name])
            panel.set(title=title, xlabel="epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel("val mIoU at the model's size (%)")
        add_legend(figure, axes, columns=1)
        return save(figure, path)


def _panels(curves: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    """Return title → variant → val mIoU, one row per epoch and one column per seed."""
    others = curves["benchmark"].isin(BENCHMARKS)
    groups = {benchmark.title: curves[curves["benchmark"] == name] for name, benchmark in DRAWN_ONLY.items()}
    panels = {}
    for title, part in {**groups, "mean of the other benchmarks": curves[others]}.items():
        by_variant = {
            str(variant): rows.groupby(["epoch", "seed"])["mIoU"].mean().unstack("seed")
            for variant, rows in part.groupby("variant", sort=False)
        }
        seeds = by_variant[FULL].shape[1] if FULL in by_variant else 0
        if seeds >= SEEDS:
            panels[title] = {
                name: by_seed for name, by_seed in by_variant.items() if by_seed.shape[1] >= seeds
            }
    return panels
