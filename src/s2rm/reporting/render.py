"""Render the report: metrics, scores and histories of the runs → tables, figures, plots and a page.

<output>/tables/{oIoU,mIoU}.{md,csv,tex}           published numbers, and ours on real data
<output>/tables/precision.{md,csv,tex}             ours on real data
<output>/tables/leakage.{md,csv,tex}               images in both training and evaluation splits
<output>/tables/balancing.{md,csv,tex}             the weights of the parsed semantics
<output>/tables/refshapes-{iou,precision,leakage,balancing}.{md,csv,tex}    the same on RefShapes
<output>/figures/{precision,training,examples,gates,words}-<run>.png
<output>/plots/{training,precision}.csv            for `dvc plots`
<output>/examples/                                 images and expressions to try the first run on
<output>/index.html
<output>/summary.json                              few numbers of each run
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from s2rm.config.params import Params
from s2rm.core.files import replace
from s2rm.reporting.balancing import build_balancing
from s2rm.reporting.comparison import build_comparison
from s2rm.reporting.curves import draw_precision, draw_training
from s2rm.reporting.examples import SweepView, WordView, load_inspection, save_examples
from s2rm.reporting.inside.gates import draw_gates
from s2rm.reporting.inside.words import draw_words
from s2rm.reporting.overlays import Example, draw_sheet
from s2rm.reporting.own_tables import build_leakage, build_precision, build_refshapes_iou
from s2rm.reporting.page import FigureEntry, write_page
from s2rm.reporting.plots import Ious, write_plots
from s2rm.reporting.published import load_published
from s2rm.reporting.run_metrics import Measured, all_synthetic, load_scores
from s2rm.reporting.scores_io import load_history, load_ious
from s2rm.reporting.summary import write_summary
from s2rm.reporting.table_writers import write_table


@dataclass(frozen=True)
class Rendered:
    """The files of a report."""

    tables: list[Path]
    figures: dict[str, list[Path]]
    """Run → its figures."""
    others: list[Path]

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
) -> Rendered:
    """Write the report of all runs of `params`.

    Args:
        params: all parameters.
        results: the folder with <run>/ of each run, as the stage `evaluate` writes it.
        output: the folder of the report.
        shared: the images that splits share, as `s2rm.data.split_overlap.report_shared` returns them.
        incomplete: benchmarks whose data are only a part; never shown beside published numbers.

    Returns:
        The written files.

    Raises:
        UserError: a file is missing or corrupt, or report.methods names an unknown method; then nothing is
            written.
    """
    published = load_published(params.report.methods)
    run_names = list(params.runs)
    runs = [_load_run(params, name, results, incomplete) for name in run_names]
    ious = {run.run: _load_ious(run, results / run.run) for run in runs}
    histories = {name: load_history(results / name / "history.jsonl") for name in run_names}
    inspections = {
        name: load_inspection(results / name / "inspect", source=params.data.source, incomplete=incomplete)
        for name in run_names
    }
    weights = {name: inspection.weights for name, inspection in inspections.items()}

    decimals = params.report.decimals
    comparisons = [build_comparison(metric, published, runs, decimals) for metric in ("oIoU", "mIoU")]
    own = [build_precision(runs, decimals)]
    if all_synthetic(runs):
        above, below = [build_refshapes_iou(runs, decimals), *own], comparisons
    else:
        above, below = [*comparisons, *own], []
    above.append(build_leakage(shared, params.data.source, incomplete))
    if any(map(len, weights.values())):
        above.append(build_balancing(weights, params.data.source, incomplete, decimals=decimals))

    tables = [path for table in (*above, *below) for path in write_table(table, output / "tables")]
    figures: dict[str, list[Path]] = {}
    shown = {}
    for run in runs:
        inspection = inspections[run.run]
        drawn = _draw(run, ious[run.run], histories[run.run], inspection.examples, output / "figures")
        if inspection.view is not None:
            drawn |= _draw_gates(run.run, inspection.view, output / "figures")
        if inspection.words is not None:
            drawn |= _draw_words(run.run, inspection.words, output / "figures")
        figures[run.run] = list(drawn)
        shown[run.run] = [
            FigureEntry(path.relative_to(output).as_posix(), caption) for path, caption in drawn.items()
        ]
    plots = write_plots(ious, histories, output / "plots")
    page = write_page(output / "index.html", params, run_names, above=above, figures=shown, below=below)
    examples = save_examples(inspections[run_names[0]].examples, output / "examples")
    summary = write_summary(output / "summary.json", runs)
    return Rendered(tables, figures, [*plots, page, *examples, summary])


def _load_run(params: Params, name: str, results: Path, incomplete: Collection[str]) -> Measured:
    run = params.get_run(name)
    return Measured(
        run=name,
        source=params.data.source,
        backbone=params.vision.backbone,
        image_size=params.vision.image_size,
        scores=load_scores(results / name / "metrics.json"),
        incomplete=frozenset(incomplete) & set(run.evaluate_on),
        with_val=frozenset(params.train.with_val) & set(run.train_on) & set(run.evaluate_on),
    )


def _load_ious(run: Measured, folder: Path) -> Ious:
    splits = run.scores[["benchmark", "split"]].drop_duplicates().itertuples(index=False, name=None)
    return {
        (benchmark, split): load_ious(folder / f"{benchmark}-{split}.parquet") for benchmark, split in splits
    }


def _draw(
    run: Measured, ious: Ious, history: pd.DataFrame, examples: list[Example], folder: Path
) -> dict[Path, str]:
    """Draw the figures of a run; return path → caption."""
    data = "RefShapes" if run.source == "refshapes" else "real benchmarks"
    resolution = f"at the model's input size ({run.resolution('model')})"
    precision, training, sheet = (
        folder / f"{name}-{run.run}.png" for name in ("precision", "training", "examples")
    )
    draw_precision(precision, run, ious)
    draw_training(training, run, history)
    captions = {
        precision: f"Precision of run {run.run}: the share of expressions in each split with IoU ≥ X, "
        f"{resolution}. Data: {data}.",
        training: f"Training of run {run.run}: the loss (left), and mIoU on the validation splits (right), "
        f"{resolution}. Data: {data}.",
    }
    if examples:
        image = draw_sheet(examples)
        replace(sheet, lambda partial: image.save(partial, format="PNG", optimize=True))
        captions[sheet] = f"Examples of run {run.run}: truth in green, prediction in orange. Data: {data}."
    return captions


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
