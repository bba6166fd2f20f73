"""The scores by kind of expression, on the drawn partitions whose expressions are of known kinds."""

from pathlib import Path

import pandas as pd

from s2rm.config.benchmarks import DRAWN_ONLY
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.refshapes.expression_kinds import kind_of
from s2rm.reporting.tables.own_tables import DRAWN
from s2rm.reporting.tables.table_writers import Table, write_mean
from s2rm.scoring.metrics import compute_iou

KIND_COLUMNS = ["variant", "run", "benchmark", "kind", "expressions", "seeds", "mIoU_mean", "mIoU_std"]


def add_kinds(scores: pd.DataFrame, prepared: Path) -> pd.DataFrame:
    """Fill the column `kind` of the expressions that have none, where their prepared table is here.

    Args:
        scores: with the columns benchmark, sent_id and kind ("" where it is not known).
        prepared: folder of the prepared tables.

    Returns:
        A copy.
    """
    scores = scores.copy()
    for benchmark in DRAWN_ONLY:
        unknown = (scores["benchmark"] == benchmark) & (scores["kind"] == "")
        path = prepared / f"{benchmark}.parquet"
        if not unknown.any() or not path.is_file():
            continue
        try:
            texts = pd.read_parquet(path, columns=["sent_id", "expression"])
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise UserError(f"{path} cannot be read: {error}: run `dvc repro preprocess`") from None
        named = [kind_of(text, benchmark) for text in texts["expression"]]
        kinds = dict(zip(texts["sent_id"], named, strict=True))
        scores.loc[unknown, "kind"] = scores.loc[unknown, "sent_id"].map(kinds).fillna("")
    return scores


def measure_kinds(scores: pd.DataFrame) -> pd.DataFrame:
    """Return KIND_COLUMNS of the val splits: the mIoU in percent over seeds, by variant and kind."""
    val = scores[(scores["split"] == "val") & (scores["kind"] != "")]
    iou = val.assign(iou=100 * compute_iou(val["intersection"], val["union"]))
    keys = ["variant", "run", "benchmark", "kind"]
    by_seed = (
        iou.groupby([*keys, "seed"], sort=False, observed=True)["iou"].agg(["mean", "size"]).reset_index()
    )
    found = by_seed.groupby(keys, sort=False, observed=True).agg(
        expressions=("size", "first"),
        seeds=("seed", "size"),
        mIoU_mean=("mean", "mean"),
        mIoU_std=("mean", "std"),
    )
    return found.reset_index()[KIND_COLUMNS]


def build_kinds(kinds: pd.DataFrame, benchmark: str, full: Params) -> Table:
    """Build the table of one partition from what `measure_kinds` returned: a column for each kind."""
    decimals = full.report.decimals
    shown = kinds[kinds["benchmark"] == benchmark]
    counts = shown.groupby("kind")["expressions"].first().sort_index()
    lines = []
    for variant, part in shown.groupby("variant", sort=False):
        cells = part.set_index("kind")
        line = {("", "model"): str(variant), ("", "seeds"): str(cells["seeds"].max())}
        for kind in counts.index:
            mean, spread = cells.loc[kind, ["mIoU_mean", "mIoU_std"]]
            line["mIoU by kind", kind] = write_mean(mean, spread, decimals)
        lines.append(line)
    frame = pd.DataFrame(lines, index=[""] * len(lines))
    frame.columns = pd.MultiIndex.from_tuples(lines[0])
    title = DRAWN_ONLY[benchmark].title
    return Table(
        name="ablation_kinds",
        title=f"{title}, by kind of expression",
        caption="mIoU in percent, the mean over the expressions of a kind: mean ± standard deviation over "
        f"seeds. Split: val. Data: {title}. Resolution: the model's input size.",
        frame=frame,
        sources=("this project, recorded runs",) * len(frame),
        footnotes=(
            "Expressions: " + ", ".join(f"{kind} {count}" for kind, count in counts.items()) + ".",
            DRAWN,
        ),
        decimals=decimals,
    )
