"""The tables keep apart what must not be mixed."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_inputs import EXPRESSIONS, SHARED, ReportInputs, make_inputs

from s2rm.config.benchmarks import name_benchmark
from s2rm.core.errors import UserError
from s2rm.reporting.run_metrics import Measured, load_metrics
from s2rm.reporting.tables.comparison import OURS, build_comparison
from s2rm.reporting.tables.own_tables import build_leakage, build_precision, build_refshapes_iou
from s2rm.reporting.tables.published import PAPER, load_published
from s2rm.reporting.tables.table_writers import to_markdown


def measured(inputs: ReportInputs, source: str, run: str = "joint") -> Measured:
    return Measured(run, source, "resnet10t", 96, load_metrics(inputs.metrics))


def ours(table) -> pd.DataFrame:
    return table.frame[table.frame.index == OURS]


def row_of(table, method: str) -> pd.Series:
    return table.frame[table.frame["", "method"] == method].iloc[0]


@pytest.mark.parametrize(("metric", "other"), [("oIoU", "mIoU"), ("mIoU", "oIoU")])
def test_a_table_has_the_published_numbers_of_one_metric(inputs, metric, other):
    published = load_published()
    table = build_comparison(metric, published, [measured(inputs, "folder")], 2)
    rows = published[(published["metric"] == metric) & (published["reason"] == "")]
    others = set(published.loc[published["metric"] == other, "method"]) - set(rows["method"])
    shown = set(table.frame["", "method"]) - {"joint, at 96×96", "joint, at own size", PAPER}
    assert shown == set(rows["method"])
    assert not shown & others
    numbers = table.frame[table.frame.index != OURS].select_dtypes("number").to_numpy()
    assert sorted(numbers[~np.isnan(numbers)]) == sorted(rows["value"])


def test_miou_only_methods_are_not_in_the_oiou_table(inputs):
    methods = set(build_comparison("oIoU", load_published(), [], 2).frame["", "method"])
    assert not methods & {"CRIS", "ETRIS", "RefTR", "OneRef-L", "ASDA", "DMMI", "MCN", "VLT"}
    assert {"LAVT", "ReLA", "GLaMM"} <= methods


def test_no_table_of_both_metrics():
    with pytest.raises(ValueError, match="neither oIoU nor mIoU"):
        build_comparison("IoU", load_published(), [], 2)


@pytest.mark.parametrize("metric", ["oIoU", "mIoU"])
def test_our_row_on_real_data_has_that_metric_at_both_protocols(inputs, metric):
    rows = ours(build_comparison(metric, load_published(), [measured(inputs, "folder")], 2))
    scores = json.loads(inputs.metrics.read_text())["refcocog_umd"]["test"]
    assert rows["", "resolution"].tolist() == ["96×96", "own size"]
    assert rows["RefCOCOg (UMD)", "test"].tolist() == [scores["model"][metric], scores["original"][metric]]


@pytest.mark.parametrize("metric", ["oIoU", "mIoU"])
def test_refshapes_never_stands_beside_published_numbers(inputs, metric):
    table = build_comparison(metric, load_published(), [measured(inputs, "refshapes")], 2)
    assert ours(table).empty
    assert table.frame.equals(build_comparison(metric, load_published(), [], 2).frame)
    assert any(
        "No row of ours, since joint trained on RefShapes: see the RefShapes tables" in note
        for note in table.footnotes
    )


def test_refshapes_tables_have_no_published_method_and_no_real_benchmark(inputs):
    runs = [measured(inputs, "refshapes")]
    for table in (build_refshapes_iou(runs, 2), build_precision(runs, 2)):
        assert table.name.startswith("refshapes-")
        assert all(name.startswith("RefShapes ") for name in table.frame["", "data"])
        assert set(table.frame.index) == {"run joint"}


def test_a_mixture_is_refused(inputs):
    runs = [measured(inputs, "refshapes", "drawn"), measured(inputs, "folder", "real")]
    with pytest.raises(ValueError, match="do not go into one table"):
        build_comparison("oIoU", load_published(), runs, 2)
    with pytest.raises(ValueError, match="do not go into one table"):
        build_precision(runs, 2)
    with pytest.raises(ValueError, match="beside the published"):
        build_refshapes_iou(runs[1:], 2)


@pytest.mark.parametrize("metric", ["oIoU", "mIoU"])
def test_paper_row_is_there_and_empty(inputs, metric):
    table = build_comparison(metric, load_published(["LAVT"]), [measured(inputs, "folder")], 2)
    numbers = row_of(table, PAPER)[[column for column in table.frame if column[0]]]
    assert len(numbers) == 11
    assert numbers.isna().all()
    assert any(note.startswith(PAPER) and "not available to us" in note for note in table.footnotes)


def test_what_is_left_out_is_counted(inputs):
    notes = {
        metric: " ".join(build_comparison(metric, load_published(), [], 2).footnotes)
        for metric in ("oIoU", "mIoU")
    }
    assert "59 because the source does not name the metric" in notes["oIoU"]
    assert "17 because a secondary source calls the values cIoU or oIoU" in notes["oIoU"]
    assert "2 because the source does not state the split (DMMI)" in notes["oIoU"]
    assert "59 because the source does not name the metric" in notes["mIoU"]
    assert "5 because the source does not state the split (DMMI, PaliGemma" in notes["mIoU"]


def test_a_method_that_cannot_be_compared_leaves_the_paper_row_alone():
    table = build_comparison("mIoU", load_published(["ASDA"]), [], 2)
    assert table.frame["", "method"].tolist() == [PAPER]
    assert not any(note.startswith("Sources") for note in table.footnotes)
    assert any("9 because the source does not name the metric (ASDA)" in note for note in table.footnotes)


def test_precision_has_every_split_and_protocol(inputs):
    table = build_precision([measured(inputs, "folder")], 2)
    assert table.name == "precision"
    assert len(table.frame) == 22  # 11 splits × 2 protocols
    first = json.loads(inputs.metrics.read_text())["refcoco_unc"]["val"]["model"]
    row = table.frame.iloc[0]
    assert row["", "data"] == "RefCOCO"
    assert row["", "expressions"] == EXPRESSIONS
    assert row["", "P@0.7"] == first["P_0.7"]


def test_refshapes_iou_has_separate_columns_for_each_metric(inputs):
    table = build_refshapes_iou([measured(inputs, "refshapes")], 2)
    scores = json.loads(inputs.metrics.read_text())["referit_berkeley"]["val"]
    row = table.frame[table.frame["", "data"] == "RefShapes (as ReferIt)"].iloc[0]
    assert row["oIoU", "96×96"] == scores["model"]["oIoU"]
    assert row["mIoU", "own size"] == scores["original"]["mIoU"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "the file is list, not a mapping"),
        ("{}", "holds no metrics"),
        ('{"refcoco_unc": 3}', "refcoco_unc is int, not a mapping"),
        (
            '{"refcoco": {"val": {"model": {}}}}',
            "refcoco → val → model is not a known benchmark → split → protocol",
        ),
        ('{"refcoco_unc": {"val": {"model": {"oIoU": 70}}}}', "refcoco_unc → val → model → mIoU is None"),
        ('{"refcoco_unc": {"val": {"model": {"oIoU": NaN}}}}', "oIoU is nan, not a percentage"),
        ('{"refcoco_unc": {"val": {"model": {"oIoU": "7"}}}}', "oIoU is '7', not a percentage"),
        ('{"refcoco_unc": {"val": {"model": {"oIoU": 120}}}}', "oIoU is 120, not a percentage"),
    ],
)
def test_malformed_metrics_are_refused(tmp_path, text, message):
    path = tmp_path / "joint.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_metrics(path)


def test_missing_metrics_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"joint\.json is missing: evaluate the run first"):
        load_metrics(tmp_path / "joint.json")


def test_missing_results_stop_before_anything_is_written(tmp_path):
    inputs = make_inputs(tmp_path / "inputs")
    inputs.scores("refcocog_umd", "val").unlink()
    with pytest.raises(UserError, match=r"refcocog_umd-val\.parquet is missing"):
        inputs.render("refshapes", tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_shared_images_are_listed_where_there_are_any():
    text = to_markdown(build_leakage(SHARED, "archives"))
    assert "| RefCOCO | RefCOCOg (UMD) | val | 3 | 30.0 | 12 |" in text
    assert "2 pairs of splits were compared, 1 share images" in text
    assert "| RefCOCO | RefCOCO |" not in text
    none = to_markdown(build_leakage(SHARED.assign(shared_images=0), "refshapes"))
    assert "Data: RefShapes. 2 pairs of splits were compared, 0 share images" in none


def test_the_structured_partition_has_its_own_name() -> None:
    assert name_benchmark("refshapes_structured", "refshapes") == "RefShapes structured"
    assert name_benchmark("refcoco_unc", "refshapes") == "RefShapes (as RefCOCO)"


def test_a_val_split_that_was_trained_on_is_said(inputs):
    trained = replace(measured(inputs, "folder"), with_val=frozenset({"refcocog_umd"}))
    tables = build_precision([trained], 2), build_comparison("oIoU", load_published(), [trained], 2)
    for table in tables:
        assert any("trained on the val split of RefCOCOg (UMD) too" in note for note in table.footnotes)
    assert not any("val split" in note for note in build_precision([measured(inputs, "folder")], 2).footnotes)


def test_referit_trained_on_train_alone_is_said(inputs):
    scores = load_metrics(inputs.metrics).assign(benchmark="referit_berkeley", split="test")
    run = replace(measured(inputs, "folder"), scores=scores)
    said = "ReferIt: published methods train on train and val, run joint on train alone"
    notes = build_comparison("oIoU", load_published(), [run], 2).footnotes
    assert any(note.startswith(said) for note in notes)
    both = replace(run, with_val=frozenset({"referit_berkeley"}))
    notes = build_comparison("oIoU", load_published(), [both], 2).footnotes
    assert not any("train alone" in note for note in notes)
