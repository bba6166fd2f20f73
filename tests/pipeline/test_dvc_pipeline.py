"""The pipeline as users run it: a clone, `dvc repro`, experiments; real git, DVC and MLflow, tiny data."""

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from clone import Clone, make_model_small

from s2rm.scoring.metrics import segmentation_metrics

pytestmark = pytest.mark.timeout(900)
LOADED = Path(__file__).parents[1] / "helpers" / "loaded"


def make_tiny(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = ["refcocog_umd"]
    params["data"]["refshapes"] |= {"train_images": 8, "eval_images": 2}
    params["runs"] = {"tiny": {"train_on": ["refcocog_umd"], "evaluate_on": ["refcocog_umd"]}}
    make_model_small(params)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Where every stage has run once, with notes of what it has loaded."""
    clone = Clone(tmp_path_factory.mktemp("clone"), make_tiny)
    clone.notes = tmp_path_factory.mktemp("notes")
    plain = clone.environment
    path = os.pathsep.join([plain["PYTHONPATH"], str(LOADED)])
    clone.environment = {**plain, "PYTHONPATH": path, "NOTE_LOADED": str(clone.notes)}
    clone.first = clone.dvc("repro")
    clone.environment = plain
    clone.commit()
    return clone


def test_repro_runs_every_stage_once_and_writes_the_contracts(clone: Clone) -> None:
    assert sorted(clone.ran(clone.first)) == sorted(
        [
            "download",
            "weights",
            "preprocess@refcocog_umd",
            "train@tiny",
            "evaluate@tiny",
            "report",
        ]
    )
    metrics = json.loads((clone.folder / "results/tiny/metrics.json").read_text())
    for split in ("val", "test"):
        scores = pd.read_parquet(clone.folder / f"results/tiny/refcocog_umd-{split}.parquet")
        for protocol in ("model", "original"):
            expected = segmentation_metrics(scores[f"intersection_{protocol}"], scores[f"union_{protocol}"])
            found = metrics["refcocog_umd"][split][protocol]
            assert {name: found[name] for name in expected} == expected
            assert found["expressions"] == len(scores)
    written = ("tables/refshapes-iou.md", "tables/oIoU.tex", "tables/refshapes-balancing.md", "index.html")
    for name in (*written, "figures/gates-tiny.png", "figures/words-tiny.png"):
        assert (clone.folder / "reports" / name).exists()


def test_nothing_changed_nothing_runs(clone: Clone) -> None:
    assert clone.ran(clone.dvc("repro")) == []
    assert clone.git("status", "--porcelain") == ""


def name_code(file: Path, folder: Path) -> str | None:
    """The name in a digest file of a source or data file in a checkout; None for any other file."""
    src = folder / "src"
    if file.parent == folder / "pipeline" and file.suffix == ".py":
        return f"pipeline.{file.stem}"
    if not file.is_relative_to(src) or "__pycache__" in file.parts or not file.is_file():
        return None
    name = file.relative_to(src)
    return (
        name.as_posix().removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if name.suffix == ".py"
        else name.as_posix()
    )


def test_all_that_a_stage_has_loaded_is_in_its_digest(clone: Clone) -> None:
    """What its process has imported and opened, against what was found in the sources."""
    loaded: dict[str, set[str | None]] = {}
    for note in map(json.loads, (path.read_text() for path in clone.notes.glob("*.json"))):
        if note["script"].startswith("pipeline/"):
            names = {name_code(Path(file), clone.folder) for file in note["files"]}
            loaded.setdefault(Path(note["script"]).stem, set()).update(names - {None})
    del loaded["digests"]
    assert loaded.keys() == {"download", "weights", "preprocess", "train", "evaluate", "report"}
    for stage, names in loaded.items():
        digests = json.loads((clone.folder / f".digests/{stage}.json").read_text())
        assert names - digests.keys() == set(), stage
        assert {f"pipeline.{stage}", "pipeline.context", "s2rm", "s2rm.config"} <= names, "the note is empty"
    assert "s2rm/reporting/pages/templates/index.html.j2" in loaded["report"]


def edit(clone: Clone, module: str, text: str) -> None:
    with (clone.folder / "src/s2rm" / module).open("a") as file:
        file.write(text)


def restore(clone: Clone) -> None:
    clone.git("checkout", "-q", ".")
    clone.dvc("checkout")


def test_a_comment_runs_no_stage_but_the_digests(clone: Clone) -> None:
    edit(clone, "model/fusion/coparse.py", "# a comment\n")
    edit(clone, "training/loop.py", '"""A statement without effect."""\n')
    assert clone.ran(clone.dvc("repro")) == []
    assert clone.dvc("status").split() == ["digests:", "always", "changed"]
    assert clone.git("diff", "--name-only").split() == [
        "src/s2rm/model/fusion/coparse.py",
        "src/s2rm/training/loop.py",
    ]
    restore(clone)


def test_changed_code_runs_the_stages_that_load_it(clone: Clone) -> None:
    edit(clone, "reporting/pages/page.py", "_changed = True\n")
    assert "what report depends on changed: s2rm.reporting.pages.page" in clone.dvc("repro", "digests")
    assert "s2rm.reporting.pages.page" in clone.git("diff", ".digests")
    assert clone.ran(clone.dvc("repro", "--dry")) == ["report"]
    restore(clone)


def test_metrics_and_plots_are_declared(clone: Clone) -> None:
    assert "refcocog_umd" in clone.dvc("metrics", "show", "--json")
    clone.dvc("plots", "show", "-o", "plots_page")
    assert "mIoU" in (clone.folder / "plots_page/index.html").read_text()
    shutil.rmtree(clone.folder / "plots_page")


def test_the_training_run_holds_curves_and_evaluation(clone: Clone) -> None:
    run = clone.runs()[0]
    assert run.info.status == "FINISHED"
    assert run.data.params["fusion.kind"] == "s2rm"
    assert "train/loss" in run.data.metrics
    metrics = json.loads((clone.folder / "results/tiny/metrics.json").read_text())
    published = run.data.metrics["P_0.5/refcocog_umd_test"]
    assert published == pytest.approx(metrics["refcocog_umd"]["test"]["model"]["P_0.5"])
    assert run.data.tags["mlflow.source.git.commit"]
    scores = {"refcocog_umd-val.parquet", "refcocog_umd-test.parquet"}
    assert clone.artifacts(run.info.run_id, "results") == {
        "params.yaml",
        "history.jsonl",
        "metrics.json",
        "tables.json",
        *scores,
    }
    assert clone.artifacts(run.info.run_id, "page") == {"index.html"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param(
            "fusion.balancing=false", ["train@tiny", "evaluate@tiny", "report"], marks=pytest.mark.slow
        ),
        # far enough from 0.5 to change the metrics of so small a model: else DVC leaves the report out
        pytest.param("evaluate.threshold=0.1", ["evaluate@tiny", "report"], marks=pytest.mark.slow),
        ("report.decimals=1", ["report"]),
    ],
)
def test_an_experiment_runs_only_what_it_changes(clone: Clone, override: str, expected: list[str]) -> None:
    before = {run.info.run_id for run in clone.runs()}
    name = override.split("=")[0].replace(".", "-")
    output = clone.dvc("exp", "run", "-n", name, "-S", override)
    assert clone.ran(output) == expected
    added = [run for run in clone.runs() if run.info.run_id not in before]
    assert len(added) == (0 if override.startswith("report") else 1)
    if expected[0] == "train@tiny":
        changed = clone.git("status", "--porcelain").split()[1::2]
        assert changed == ["dvc.lock", "params.yaml", "reports/summary.json"]
        page = (clone.folder / "reports/index.html").read_text()
        assert "fusion.balancing=false takes the plain mean" in page
        assert added[0].data.tags["dvc.experiment"] == name
        assert added[0].data.params["fusion.balancing"] == "False"
        assert "oIoU/refcocog_umd_test" in added[0].data.metrics
    restore(clone)


def test_a_wrong_parameter_stops_with_one_line(clone: Clone) -> None:
    output = clone.dvc("exp", "run", "-S", "fusion.rotations=3", ok=False)
    assert "error: params.yaml: fusion.rotations is 3: it must be 4, 2 or 1" in output
    assert "Traceback" not in output
    restore(clone)


@pytest.mark.slow
def test_an_experiment_with_the_report_brings_back_what_is_missing(clone: Clone) -> None:
    """Without data and weights in the folder, all of it in the cache, no stage but the report runs."""
    shutil.rmtree(clone.folder / "data/raw")
    (clone.folder / "models/tiny/model.safetensors").unlink()
    output = clone.dvc("exp", "run", "-S", "report.decimals=3")
    assert clone.ran(output) == ["report"]
    restore(clone)


@pytest.mark.slow
def test_the_report_needs_results_only(clone: Clone, tmp_path: Path) -> None:
    """In a clone that has pulled results/ and nothing else: no data, no model. It loads no torch."""
    alone = copy.copy(clone)
    alone.folder = tmp_path / "alone"
    clone.git("clone", "-q", str(clone.folder), str(alone.folder))
    alone.dvc("remote", "add", "--local", "--default", "all", str(clone.folder / ".dvc/cache"))
    alone.dvc("pull", "results/tiny")
    notes = tmp_path / "notes"
    notes.mkdir()
    path = os.pathsep.join([str(alone.folder / "src"), str(LOADED)])
    alone.environment = {**clone.environment, "PYTHONPATH": path, "NOTE_LOADED": str(notes)}
    output = alone.dvc("exp", "run", "--single-item", "report", "-S", "report.decimals=1")
    assert alone.ran(output) == ["report"]
    assert not (alone.folder / "data/raw").exists()
    assert not list((alone.folder / "models").glob("*/"))
    table = (alone.folder / "reports/tables/refshapes-iou.md").read_text()
    assert table != (clone.folder / "reports/tables/refshapes-iou.md").read_text()
    loaded = [json.loads(note.read_text()) for note in notes.glob("*.json")]
    reports = [note for note in loaded if note["script"].endswith("pipeline/report.py")]
    assert len(reports) == 1
    assert not [file for file in reports[0]["files"] if "/torch/" in file]
    assert [file for file in reports[0]["files"] if "/matplotlib/" in file], "the note is empty"
