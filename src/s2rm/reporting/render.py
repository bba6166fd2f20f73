"""Render the report: scores, analyses and histories of the runs → tables, figures, plots and pages.

<output>/tables/{oIoU,mIoU}.{md,csv,tex}           published numbers, and ours on real data
<output>/tables/precision.{md,csv,tex}             ours on real data
<output>/tables/leakage.{md,csv,tex}               images in both training and evaluation splits
<output>/tables/balancing.{md,csv,tex}             the weights of the parsed semantics
<output>/tables/scored.{md,csv,tex}                other models, from <output>/scored, where there are any
<output>/tables/refshapes-{iou,precision,leakage,balancing,scored}.{md,csv,tex}    the same on RefShapes
<output>/tables/references.bib                     what the LaTeX tables cite
<output>/figures/{scores,precision,errors,calibration,confidence,training,examples,gates,words}-<run>.png
<output>/plots/{training,precision}.csv            for `dvc plots`
<output>/examples/                                 images and expressions to try the first run on
<output>/index.html, examples.html                 the pages
<output>/summary.json                              few numbers of each run
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from s2rm.config.params import Params
from s2rm.core.files import replace
from s2rm.reporting.examples import SweepView, WordView, save_examples
from s2rm.reporting.inside.gates import draw_gates
from s2rm.reporting.inside.words import draw_words
from s2rm.reporting.overlays import draw_sheet
from s2rm.reporting.pages.charts import save_png
from s2rm.reporting.pages.gallery import make_cards, write_gallery
from s2rm.reporting.pages.page import GALLERY, Sections, draw_charts, write_page
from s2rm.reporting.plots import write_plots
from s2rm.reporting.run_metrics import all_synthetic
from s2rm.reporting.run_results import RunResults, load_run
from s2rm.reporting.scored import Scored
from s2rm.reporting.scores_io import compute_ious
from s2rm.reporting.summary import write_summary
from s2rm.reporting.tables.balancing import build_balancing
from s2rm.reporting.tables.comparison import build_comparison
from s2rm.reporting.tables.own_tables import build_leakage, build_precision, build_refshapes_iou
from s2rm.reporting.tables.published import load_published
from s2rm.reporting.tables.references import write_references
from s2rm.reporting.tables.scored_models import build_scored, load_others
from s2rm.reporting.tables.table_writers import Table, write_table


@dataclass(frozen=True)
class Rendered:
    """The files of a report."""

    tables: list[Path]
    figures: dict[str, list[Path]]
    """Run → its figures."""
    others: list[Path]
    headlines: dict[str, tuple[str, Scored]]
    """As `RunResults.headline`, by run."""

    @property
    def paths(self) -> list[Path]:
        """Return the paths of all files."""
        return [*self.tables, *(path for paths in self.figures.values() for path in paths), *self.others]


def render(
    params: Params,
    results: Path,
    output: Path,
    *,
    shared: pd.DataFrame,
    incomplete: Collection[str] = (),
    ablations: Sequence[Table] = (),
    origin: Mapping[str, str] | None = None,
) -> Rendered:
    """Write the report of all runs of `params`.

    Args:
        params: all parameters.
        results: the folder with <run>/ of each run, as the stage `evaluate` writes it.
        output: the folder of the report; scored/<name>/ in it are other models, as `s2rm score` keeps them.
        shared: the images that splits share, as `s2rm.data.split_overlap.report_shared` returns them.
        incomplete: benchmarks whose data are only a part; never shown beside published numbers.
        ablations: tables of studies, shown on the page.
        origin: where the runs come from, for the page: name → text.

    Returns:
        The written files.

    Raises:
        UserError: a file is missing or corrupt, or report.methods names an unknown method; then nothing is
            written.
    """
    published = load_published(params.report.methods)
    runs = [load_run(params, name, results, incomplete) for name in params.runs]
    measured = [run.measured for run in runs]
    weights = {run.name: run.inspection.weights for run in runs}
    synthetic = all_synthetic(measured)

    decimals = params.report.decimals
    comparisons = [build_comparison(metric, published, measured, decimals) for metric in ("oIoU", "mIoU")]
    own = [build_precision(measured, decimals)]
    if synthetic:
        own.append(build_refshapes_iou(measured, decimals))
    inside = []
    if any(map(len, weights.values())):
        inside.append(build_balancing(weights, params.data.source, incomplete, decimals=decimals))
    others = load_others(output / "scored", runs)
    scored = [build_scored(runs, others, decimals)] if others else []
    leakage = build_leakage(shared, params.data.source, incomplete)
    tables = [
        path
        for table in (*comparisons, *own, *scored, *inside, leakage)
        for path in write_table(table, output / "tables")
    ]

    tables.append(write_references(output / "tables" / "references.bib", published))

    drawn = {run.name: draw_charts(run) for run in runs}
    charts = {
        name: [save_png(chart, output / "figures" / f"{kind}-{name}.png") for kind, chart in each.items()]
        for name, each in drawn.items()
    }
    views = {run.name: _draw_inside(run, output / "figures") for run in runs}
    sheets = {run.name: _draw_sheet(run, output / "figures") for run in runs}
    figures = {run.name: [*charts[run.name], *views[run.name], *sheets[run.name]] for run in runs}

    cards, left_out = make_cards(runs)
    title = f"Examples on {'RefShapes (drawn data)' if synthetic else 'the real benchmarks'}"
    gallery = write_gallery(output / GALLERY, cards, left_out, title=title, synthetic=synthetic)
    page = write_page(
        output / "index.html",
        params,
        runs,
        Sections([] if synthetic else comparisons, scored, inside, leakage, list(ablations)),
        charts_of=drawn,
        inside=views,
        cards=cards,
        published=published,
        origin=origin or {},
    )
    first = runs[0]
    ious = {key: compute_ious(table) for key, table in first.scores.items()}
    plots = write_plots(ious, first.history, output / "plots")
    examples = save_examples(first.inspection.examples, output / "examples")
    summary = write_summary(output / "summary.json", measured)
    rest = [*plots, page, gallery, *examples, summary]
    return Rendered(tables, figures, rest, {run.name: run.headline for run in runs})


def _draw_sheet(run: RunResults, folder: Path) -> list[Path]:
    """Draw the sheet of examples; none where there are none."""
    if not run.inspection.examples:
        return []
    image = draw_sheet(run.inspection.examples)
    path = folder / f"examples-{run.name}.png"
    return [replace(path, lambda partial: image.save(partial, format="PNG", optimize=True))]


def _draw_inside(run: RunResults, folder: Path) -> dict[Path, str]:
    """Draw what the model computes for one expression; return path → caption."""
    drawn: dict[Path, str] = {}
    if run.inspection.words is not None:
        drawn |= _draw_words(run.name, run.inspection.words, folder)
    if run.inspection.view is not None:
        drawn |= _draw_gates(run.name, run.inspection.view, folder)
    return drawn


def _draw_gates(run: str, view: SweepView, folder: Path) -> dict[Path, str]:
    """Draw the figure of the gates; return path → caption."""
    path = draw_gates(folder / f"gates-{run}.png", run, view)
    return {
        path: f"Inside run {run}, for one expression of {view.example.title} (white outline: the truth). For "
        "each role and sweep direction: the update gate (bright: the state is replaced by the current "
        "position; dark: it is carried over); below it the share of the weighted parsed semantic in the "
        "magnitude of all of them at each position, and its balancing weight (line: equal weights). A gate "
        "depends on its slice but not on the direction of the sweep, so opposite sweeps share it."
    }


def _draw_words(run: str, view: WordView, folder: Path) -> dict[Path, str]:
    """Draw the figure of the words; return path → caption."""
    path = draw_words(folder / f"words-{run}.png", run, view)
    kind = {
        "sigmoid": "A sigmoid: each affinity stands for itself, and those of a position do not sum to 1.",
        "softmax": "A softmax: at each position, the affinities of all tokens sum to 1.",
    }
    return {
        path: f"Where run {run} distributes the words, for one expression of {view.example.title} (white "
        "outline: the truth): the affinity of each token to each position, all maps in one colour scale from "
        f"0 to the largest value. {kind[view.kind]} A model may mark what a word names as bright or as dark. "
        "[CLS] and [SEP], which frame every expression, are last."
    }
