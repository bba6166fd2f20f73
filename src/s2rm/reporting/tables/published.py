"""Read the published numbers of other methods from published.csv, and decide which may be compared.

Each row of published.csv is one number with its source. Sources confuse the metrics, so a number enters a
table only where its metric and its split are certain; the others stay in the file, and `reason` says why
they are left out.
"""

import difflib
from importlib.resources import files
from typing import Any

import pandas as pd

from s2rm.core.errors import UserError

PAPER = "S2RM (paper)"  # its row is empty: the paper's numbers were not available to us

# (dataset, split) of the sources → (benchmark, split) here. `U` is the UMD partition, `G` Google's.
SPLITS = {
    **{("RefCOCO", split): ("refcoco_unc", split) for split in ("val", "testA", "testB")},
    **{("RefCOCO+", split): ("refcoco_plus_unc", split) for split in ("val", "testA", "testB")},
    ("G-Ref", "val(U)"): ("refcocog_umd", "val"),
    ("G-Ref", "test(U)"): ("refcocog_umd", "test"),
    ("G-Ref", "val(G)"): ("refcocog_google", "val"),
    ("ReferIt", "test"): ("referit_berkeley", "test"),
}
# cIoU, the cumulative IoU, is defined as Σ I / Σ U, which is oIoU.
METRIC_NAMES = {"oIoU": "oIoU", "oIoU (cIoU)": "oIoU", "mIoU": "mIoU"} | {
    f"P@0.{digit}": f"P_0.{digit}" for digit in range(5, 10)
}
# Secondary sources call the numbers of these methods cIoU or oIoU, but the methods' own evaluation code
# averages over expressions (VLT callbacks/eval.py, and MCN likewise).
DISPUTED = ("MCN", "VLT")
# The size at which a method is evaluated, according to its code; for the other methods it is unknown.
RESOLUTIONS = {
    "LAVT": "480×480",  # test.py
    "LAVT-One (Dice loss)": "480×480",
    "ReLA": "480×480",  # gres_model/evaluation/refer_evaluation.py
    "CRIS": "own size",  # engine/engine.py
    "CGFormer": "own size",  # engine/engine.py
}
METRIC_UNKNOWN = "the source does not name the metric"
METRIC_DISPUTED = (
    "a secondary source calls the values cIoU or oIoU, but the method's own code computes a mean"
)
SPLIT_UNKNOWN = "the source does not state the split"

_SECOND_HAND = ("secondary", "aggregator", "paperswithcode")
_OTHERS = ("ReLA", "STEP")  # from tables in the repositories of MagNet (mask-grounding) and CMPC


def load_published(methods: list[str] | None = None) -> pd.DataFrame:
    """Load the published numbers.

    Args:
        methods: only these; None or an empty list means all. The row of the S2RM paper is always included.

    Returns:
        One row per number, in the order of the file: method, year, venue, backbone, text_encoder, dataset;
        benchmark, split, metric (by our names; "" where unknown), value (percent; NaN in the row of the
        S2RM paper), source, second_hand (the source is not the method's authors), combined (trained on
        several of the benchmarks, according to the source), reason (why the number is left out of the
        tables; "" where it is not).

    Raises:
        UserError: a method is unknown.
    """
    with files("s2rm.reporting.tables").joinpath("published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    if methods:
        _check_known(methods, table["method"].unique().tolist())
        table = table[table["method"].isin([*methods, PAPER])].reset_index(drop=True)
    splits = [SPLITS.get(key, ("", "")) for key in zip(table["dataset"], table.pop("split"), strict=True)]
    table["benchmark"], table["split"] = map(list, zip(*splits, strict=True))
    table["metric"] = table["metric"].map(METRIC_NAMES).fillna("")
    table["value"] = pd.to_numeric(table["value"])
    table["year"] = table["year"].astype(int)
    table["second_hand"] = [
        method in _OTHERS or any(word in source for word in _SECOND_HAND)
        for method, source in zip(table["method"], table["source"], strict=True)
    ]
    table["combined"] = (table["method"] + table["source"]).str.contains("combined|mixed")
    table["reason"] = [_reason(row) for row in table.itertuples()]
    return table


def _reason(row: Any) -> str:
    if row.method == PAPER:
        return ""
    if not row.metric:
        return METRIC_UNKNOWN
    if not row.benchmark:
        return SPLIT_UNKNOWN
    return METRIC_DISPUTED if row.metric == "oIoU" and row.method in DISPUTED else ""


def _check_known(methods: list[str], known: list[str]) -> None:
    for method in methods:
        if method not in known:
            nearest = difflib.get_close_matches(method, known, n=1, cutoff=0.4)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
            raise UserError(
                f"report.methods names {method!r}, which is not one of the published methods; {hint}"
            )
