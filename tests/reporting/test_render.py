"""The whole report: its files, the same bytes again, escaping, and that no table mixes numbers."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from report_inputs import PARAMS, SHARED, make_inputs

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.core.errors import UserError
from s2rm.reporting.render import render
from s2rm.reporting.tables.published import load_published


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def tables_of(names: list[str]) -> set[str]:
    files = {f"tables/{name}.{end}" for name in names for end in ("md", "csv", "tex")}
    return {"tables/references.bib", *files}


OWN = ["precision", "leakage", "balancing"]
CHARTS = ("scores", "precision", "errors", "calibration", "confidence", "training")
FIGURES = (*CHARTS, "examples", "gates", "words")
ALWAYS = {
    *(f"figures/{name}-joint.png" for name in FIGURES),
    "plots/training.csv",
    "plots/precision.csv",
    "examples/1.png",
    "examples/expressions.csv",
    "index.html",
    "examples.html",
    "summary.json",
}


@pytest.mark.parametrize(
    ("source", "tables"),
    [
        ("refshapes", [*(f"refshapes-{name}" for name in OWN), "refshapes-iou", "oIoU", "mIoU"]),
        ("folder", [*OWN, "oIoU", "mIoU"]),
    ],
)
def test_files_are_complete_and_deterministic(inspected, tmp_path, source, tables):
    written = inspected.render(source, tmp_path / "first")
    inspected.render(source, tmp_path / "again")
    first = tree(tmp_path / "first")
    assert set(first) == tables_of(tables) | ALWAYS
    assert {path.relative_to(tmp_path / "first").as_posix() for path in written.paths} == set(first)
    assert first == tree(tmp_path / "again")
    assert not any(b"Software" in data for name, data in first.items() if name.endswith(".png"))


RENDER = """
import json, sys
from pathlib import Path
import pandas as pd
from s2rm.config.load import load_params
from s2rm.reporting.render import render

assert "torch" not in sys.modules, "the import"
params, results, shared, output = json.load(sys.stdin)
render(
    load_params(Path(params), ["data.source=refshapes"]), Path(results), Path(output),
    shared=pd.DataFrame(shared),
)
assert "torch" not in sys.modules, "the rendering"
sys.path.insert(0, str(Path(params).parent / "pipeline"))
import report

assert "torch" not in sys.modules, "the stage"
"""


@pytest.mark.slow
def test_rendering_loads_no_torch(inspected, tmp_path):
    given = [str(PARAMS), str(inspected.root / "results"), SHARED.to_dict("list"), str(tmp_path)]
    subprocess.run([sys.executable, "-c", RENDER], input=json.dumps(given), text=True, check=True)
    assert (tmp_path / "figures" / "gates-joint.png").is_file()


def test_no_file_has_refshapes_numbers_beside_published_ones(inputs, tmp_path):
    inputs.render("refshapes", tmp_path)
    methods = set(load_published()["method"])
    for path in (tmp_path / "tables").glob("*.[!b]*"):  # not references.bib, which has no number
        text = path.read_text(encoding="utf-8")
        if path.stem.startswith("refshapes-"):
            assert not [method for method in methods if re.search(rf"\b{re.escape(method)}\b", text)]
        else:
            assert "This project" not in text
            assert "RefShapes" in text or path.suffix == ".csv"  # the footnote that says why


def test_a_part_of_a_benchmark_is_named_so_and_never_beside_published_numbers(inputs, tmp_path):
    inputs.render("archives", tmp_path, incomplete={"refcoco_unc"})
    table = pd.read_csv(tmp_path / "tables/oIoU.csv")
    ours = table[table["source"] == "this project, run joint"]
    assert len(ours) == 2
    assert ours[["RefCOCO val", "RefCOCO testA", "RefCOCO testB"]].isna().all(axis=None)
    assert ours[["RefCOCO+ val", "ReferIt test"]].notna().all(axis=None)
    assert "No value of ours on RefCOCO: the data are only a part of it." in (
        tmp_path / "tables/oIoU.md"
    ).read_text(encoding="utf-8")
    precision = (tmp_path / "tables/precision.md").read_text(encoding="utf-8")
    assert "| part of RefCOCO | val |" in precision
    assert "| RefCOCO | val |" not in precision
    assert "| RefCOCO+ | val |" in precision
    assert "| part of RefCOCO | RefCOCOg (UMD) |" in (tmp_path / "tables/leakage.md").read_text()
    head = (tmp_path / "index.html").read_text(encoding="utf-8").partition("<main>")[0]
    assert "results on parts of the real benchmarks" in head
    assert "RefCOCO+ val, oIoU: here" in head, "the first split that can stand beside published values"


def test_nothing_is_compared_where_all_is_a_part(inputs, tmp_path):
    inputs.render("archives", tmp_path, incomplete=set(BENCHMARKS))
    head = (tmp_path / "index.html").read_text(encoding="utf-8").partition("<main>")[0]
    assert "nothing published: the data here are only a part of the benchmarks" in head
    assert "the mean of" not in head
    assert "part of RefCOCO, part of RefCOCO+" in head


def test_other_models_stand_beside_the_runs(inputs, tmp_path):
    other = tmp_path / "scored" / "LAVT & co"
    other.mkdir(parents=True)
    scores = pd.read_parquet(inputs.scores("refcoco_unc", "testA"))
    better = scores.assign(intersection_original=scores["union_original"])
    better.to_parquet(other / "refcoco_unc-testA.parquet")
    inputs.render("folder", tmp_path)
    table = pd.read_csv(tmp_path / "tables/scored.csv")
    assert table["model"].tolist() == ["run joint", "LAVT & co"]
    assert table["group"].tolist() == ["RefCOCO testA"] * 2
    assert table["mIoU"].tolist()[1] == 100
    assert table["mIoU"].tolist()[0] < 90
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "LAVT &amp; co" in text
    assert "Other models, scored here" in text
    better.iloc[1:].to_parquet(other / "refcoco_unc-testA.parquet")
    with pytest.raises(UserError, match="was scored on other expressions than run joint") as caught:
        inputs.render("folder", tmp_path)
    assert "\n" not in str(caught.value)


def test_another_model_on_what_only_the_second_run_was_measured_on(inputs, tmp_path):
    names = {"a": "refcoco_unc", "b": "refcoco_plus_unc"}
    for run, benchmark in names.items():
        shutil.copytree(inputs.results, tmp_path / "results" / run)
        metrics = json.loads(inputs.metrics.read_text())
        (tmp_path / "results" / run / "metrics.json").write_text(json.dumps({benchmark: metrics[benchmark]}))
    other = tmp_path / "reports" / "scored" / "other"
    other.mkdir(parents=True)
    shutil.copy(inputs.scores("refcoco_plus_unc", "val"), other)
    runs = [f"+runs.{run}={{train_on: [{name}], evaluate_on: [{name}]}}" for run, name in names.items()]
    params = inputs.params("folder", *runs, "~runs.joint")
    render(params, tmp_path / "results", tmp_path / "reports", shared=SHARED)
    table = pd.read_csv(tmp_path / "reports/tables/scored.csv")
    assert table[["group", "model"]].to_numpy().tolist() == [
        ["RefCOCO+ val", "run b"],
        ["RefCOCO+ val", "other"],
    ]
    assert table["mIoU"].nunique() == 1


def test_decimals(inputs, tmp_path):
    inputs.render("folder", tmp_path, "report.decimals=1", "report.methods=[LAVT]")
    text = (tmp_path / "tables" / "oIoU.md").read_text(encoding="utf-8")
    assert "| LAVT | CVPR 2022 | Swin-B | 480×480 | 72.7 |" in text
    assert "ReLA |" not in text


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        self.links += [value for key in ("href", "src") if (value := found.get(key))]


@pytest.mark.parametrize("source", ["refshapes", "folder"])
def test_page_links_lead_to_files_beside_it(inspected, tmp_path, source):
    inspected.render(source, tmp_path)
    for name in ("index.html", "examples.html"):
        page = Page()
        page.feed((tmp_path / name).read_text(encoding="utf-8"))
        assert "script" in page.tags
        for link in page.links:
            if not link.startswith("data:image/webp;base64,"):
                assert link[1:] in page.ids if link.startswith("#") else (tmp_path / link).is_file(), link


def test_page_is_escaped(inputs, tmp_path):
    inputs.render("refshapes", tmp_path, "vision.backbone='<script>alert(1)</script>'")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_without_examples_there_is_no_sheet(inputs, tmp_path):
    inputs.render("refshapes", tmp_path)
    assert not (tmp_path / "figures" / "examples-joint.png").exists()
    assert "No expression is shown" in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("override", "no_gates", "no_words", "no_table"),
    [
        ("fusion.kind=s2rm", None, None, None),
        ("fusion.recurrence=gru", "fusion.recurrence=gru keeps its gates inside torch", None, None),
        ("fusion.balancing=false", why := "fusion.balancing=false takes the plain mean", None, why),
        (
            "fusion.distribution=tile",
            None,
            "fusion.distribution=tile distributes the sentence, not its words",
            None,
        ),
    ],
)
def test_the_page_says_what_a_model_lacks(inputs, tmp_path, override, no_gates, no_words, no_table):
    inputs.render("refshapes", tmp_path, override)
    assert not (tmp_path / "figures" / "gates-joint.png").exists()
    assert not (tmp_path / "figures" / "words-joint.png").exists()
    assert not (tmp_path / "tables" / "refshapes-balancing.md").exists()
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    reasons = {
        "figure of the gates": no_gates,
        "figure of the words": no_words,
        "table of the balancing weights": no_table,
    }
    for name, reason in reasons.items():
        assert (f"No {name}: {reason}." in text) is (reason is not None)
        assert (f"No {name}" in text) is (reason is not None)


def test_unknown_method_stops_before_anything_is_written(inputs, tmp_path):
    with pytest.raises(UserError, match="did you mean 'CGFormer'"):
        inputs.render("folder", tmp_path / "reports", "report.methods=[CGformer]")
    assert not (tmp_path / "reports").exists()


def test_a_run_of_one_benchmark(tmp_path):
    inputs = make_inputs(tmp_path / "inputs")
    inputs.metrics.write_text(
        '{"referit_berkeley": {"test": {"model": {"oIoU": 60, "mIoU": 50, "P_0.5": 50, "P_0.6": 40,'
        ' "P_0.7": 30, "P_0.8": 20, "P_0.9": 0, "images": 3, "expressions": 30}}}}'
    )
    inputs.render("folder", tmp_path / "reports")
    text = (tmp_path / "reports" / "tables" / "mIoU.csv").read_text(encoding="utf-8")
    assert "ReferIt test" in text
    assert text.splitlines()[-1].endswith(',50.0,"this project, run joint"')


@pytest.mark.slow
def test_runs_with_similar_names_have_separate_files(inspected, tmp_path):
    """Of the runs `a` and `b-a` each has its own figures and none of the other's."""
    for name in ("a", "b-a"):
        shutil.copytree(inspected.results, tmp_path / "results" / name)
    run = "{train_on: [refcoco_unc], evaluate_on: [refcoco_unc]}"
    params = inspected.params("refshapes", f"+runs.a={run}", f"+runs.b-a={run}", "~runs.joint")
    rendered = render(params, tmp_path / "results", tmp_path / "reports", shared=SHARED)
    assert set(rendered.figures) == {"a", "b-a"}
    for name, paths in rendered.figures.items():
        assert {path.name for path in paths} == {f"{kind}-{name}.png" for kind in FIGURES}
