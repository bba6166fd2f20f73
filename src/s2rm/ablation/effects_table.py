"""Write the ablation table: what differs from the full model, and what that does to mIoU.

<output>/<name>.{md,tex}     for people: the val splits; drawn partitions also by kind of expression
<output>/<name>.json         the first table, for the report's page
<output>/<name>.csv          for machines: one row per variant, benchmark and split
<output>/<name>-kinds.csv    one row per variant, drawn partition and kind of expression
<output>/<name>-curves.csv   one row per recorded run, validation and benchmark
<output>/<name>-curves.png   how soon each variant learns, where there are enough seeds
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from s2rm.ablation.effects import COLUMNS, MEANS, measure_effects
from s2rm.ablation.kinds import build_kinds, measure_kinds
from s2rm.ablation.learning import draw_learning
from s2rm.ablation.runs import Study
from s2rm.ablation.variants import FULL
from s2rm.config.benchmarks import name_benchmark
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.core.files import replace_text
from s2rm.refer.split_sizes import Count, compare
from s2rm.reporting.tables.own_tables import DRAWN
from s2rm.reporting.tables.table_writers import Table, to_latex, to_markdown, write_mean
from s2rm.scoring.intervals import CONFIDENCE, RESAMPLES, holm
from s2rm.tracking.synchronise import advise_recording

CSV_DECIMALS = 4
MOST_IN_LATEX = 6  # columns of numbers


def render_ablation(study: Study, full: Params, output: Path, name: str = "ablation") -> list[Path]:
    """Write the files that the module's docstring lists.

    Args:
        study: result of `collect`.
        full: parameters of the full model.
        output: folder of the files.
        name: name of the study.

    Returns:
        The paths of the files.

    Raises:
        UserError: a model of params.yaml has no recorded run of the full model.
    """
    scores = study.scores
    for run in full.runs:
        if not ((scores["run"] == run) & (scores["variant"] == FULL)).any():
            raise UserError(
                f"no run {run!r} of the full model is recorded here: {advise_recording(Path.cwd())}"
            )
    effects = measure_effects(scores, full)
    kinds = measure_kinds(scores)
    tables = [build_ablation(effects, full, _find_incomplete(scores, full))]
    tables += [build_kinds(kinds, benchmark, full) for benchmark in kinds["benchmark"].unique()]
    columns = COLUMNS if effects["run"].eq("").all() else ["run", *COLUMNS]
    numbers = {".csv": effects[columns], "-kinds.csv": kinds, "-curves.csv": study.curves}
    texts = {".md": "\n".join(map(to_markdown, tables)), ".tex": "\n".join(map(to_latex, tables))}
    texts[".json"] = tables[0].to_json()
    texts |= {
        end: frame.round(CSV_DECIMALS).to_csv(index=False, lineterminator="\n")
        for end, frame in numbers.items()
        if len(frame)
    }
    written = [replace_text(output / f"{name}{end}", text) for end, text in texts.items()]
    figure = draw_learning(study.curves, output / f"{name}-curves.png")
    return [*written, figure] if figure else written


def build_ablation(effects: pd.DataFrame, full: Params, incomplete: Collection[str] = ()) -> Table:
    """Build the table of the val splits.

    Args:
        effects: result of `measure_effects`.
        full: parameters of the full model.
        incomplete: benchmarks of which only a part of the data is used.
    """
    source, decimals, size = full.data.source, full.report.decimals, full.vision.image_size
    data, notes = ("RefShapes", [DRAWN]) if source == "refshapes" else ("the real benchmarks", [])
    shown = effects[effects["split"] == "val"]
    shown = shown.assign(p_value=holm(shown["p_value"]))
    titles = {
        str(name): str(name).replace("_", " ")
        if name in MEANS
        else name_benchmark(str(name), source, incomplete)
        for name in shown["benchmark"].unique()
    }
    several = bool(shown["seeds_low"].notna().any())
    groups, lines = [], []
    for (run, variant), part in shown.groupby(["run", "variant"], sort=False):
        few, many = part["seeds"].min(), part["seeds"].max()
        line = {("", "model"): str(variant), ("", "seeds"): f"{few}" if few == many else f"{few}–{many}"}
        cells = part.set_index("benchmark").to_dict("index")
        for name, title in titles.items():
            cell: Any = cells.get(name)
            line[title, "mIoU"] = write_mean(cell["mIoU_mean"], cell["mIoU_std"], decimals) if cell else ""
            line[title, "difference"] = _write_difference(cell, decimals) if cell else ""
            if several:
                line[title, "over seeds"] = _write_interval(cell, "seeds_", decimals) if cell else ""
        lines.append(line)
        groups.append(f"run {run}" if run else "")
    frame = pd.DataFrame(lines, index=groups)
    frame.columns = pd.MultiIndex.from_tuples(lines[0])
    means = [
        f"{titles[mean]} = the mean over the val splits of "
        + ", ".join(title for name, title in titles.items() if name in MEANS[mean])
        + "; an image of several benchmarks is drawn once for all of them."
        for mean in MEANS
        if mean in titles
    ]
    return Table(
        name="ablation",
        title=f"Ablation on {data}",
        caption="mIoU in percent, the mean over the expressions of intersection / union: mean ± standard "
        "deviation over seeds, and the difference to the full model in points with its "
        f"{CONFIDENCE:.0%} interval. Split: val. Data: {data}. Resolution: the model's input size, "
        f"{size}×{size} in the full model.",
        frame=frame,
        sources=("this project, recorded runs",) * len(frame),
        footnotes=(
            "model = the parameters that differ from the full model's.",
            f"Interval: a paired bootstrap over images, {RESAMPLES:,} resamples. An image is drawn with all "
            "of its expressions, and the IoU of an expression is first averaged over seeds: the interval "
            "says what other images may change, the standard deviation what other seeds may.",
            f"* = p < {1 - CONFIDENCE:.2f} by sign flips: if nothing differs, an image's differences are as "
            "likely with the other sign; adjusted by Holm for all tests of this table.",
            *(["over seeds = the interval of the same difference by Welch's t-test over seeds."] * several),
            *means,
            *notes,
        ),
        decimals=decimals,
        not_in_latex=_choose_left_out(
            list(frame.columns), [titles[name] for name in MEANS if name in titles]
        ),
    )


def _choose_left_out(columns: list[tuple[str, str]], means: list[str]) -> tuple[tuple[str, str], ...]:
    """Return the columns that a page has no room for: without them, at most MOST_IN_LATEX numbers stay.

    Means stay before single benchmarks.
    """
    headings = [*means, *(heading for heading, _ in columns if heading and heading not in means)]
    kept: list[tuple[str, str]] = []
    for heading in dict.fromkeys(headings):
        own = [column for column in columns if column[0] == heading]
        if len(kept) + len(own) <= MOST_IN_LATEX:
            kept += own
    return tuple(column for column in columns if column[0] and column not in kept)


def _write_difference(cell: dict[str, float], decimals: int) -> str:
    """Write a difference, as "−1.20 [−1.61, −0.80] *", or "" for the full model."""
    value = cell["difference"]
    if pd.isna(value):
        return ""
    certain = " *" if cell["p_value"] < 1 - CONFIDENCE else ""
    return f"{value:+.{decimals}f} {_write_interval(cell, '', decimals)}{certain}".replace("-", "−")


def _write_interval(cell: dict[str, float], prefix: str, decimals: int) -> str:
    """Write an interval, as "[−1.61, −0.80]"; "" where there is none."""
    low, high = cell[f"{prefix}low"], cell[f"{prefix}high"]
    if pd.isna(low):
        return ""
    return f"[{low:+.{decimals}f}, {high:+.{decimals}f}]".replace("-", "−")


def _find_incomplete(scores: pd.DataFrame, full: Params) -> set[str]:
    """Return the real benchmarks with an evaluation split that was not scored completely."""
    if full.data.source == "refshapes":
        return set()
    incomplete = set()
    for benchmark, part in scores[scores["variant"] == FULL].groupby("benchmark"):
        found = {
            str(split): {"images": rows["image_id"].nunique(), "expressions": rows["sent_id"].nunique()}
            for split, rows in part.groupby("split")
        }
        route = full.data.referit if benchmark == "referit_berkeley" else "refer"
        counts = compare(str(benchmark), route, found)
        if any(count.certain and count.differs and _is_scored(count) for count in counts):
            incomplete.add(str(benchmark))
    return incomplete


def _is_scored(count: Count) -> bool:
    return count.split != "train" and count.what != "refs"
