"""Each stage refuses what it cannot do before it does anything."""

import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from s2rm.config.params import Params
from s2rm.data.table import SCHEMA, load_table

ROOT = Path(__file__).parents[2]
STAGES = {
    "download": [],
    "weights": [],
    "preprocess": ["refcoco_unc"],
    "train": ["joint"],
    "evaluate": ["joint"],
    "report": [],
}
OUTPUTS = {
    "download": "data/raw",
    "weights": "data/weights",
    "preprocess": "data/prepared",
    "train": "models",
    "evaluate": "results",
    "report": "reports",
}


@pytest.fixture
def project(
    tmp_path: Path, tiny_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with the parameters and the catalog alone."""
    names = "[refcoco_unc]"
    runs = f"runs={{joint: {{train_on: {names}, evaluate_on: {names}}}}}"
    params = tiny_params(f"data.benchmarks={names}", runs, "tracking.enabled=false")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
    shutil.copy(ROOT / "archives.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("S2RM_")]:
        monkeypatch.delenv(name)
    monkeypatch.syspath_prepend(str(ROOT / "pipeline"))
    # The modules of pipeline/ that know the project's folder are loaded again, and restored afterwards.
    loaded = {name: sys.modules.pop(name, None) for name in ("paths", "scratch", "training_key")}
    yield tmp_path
    for name, module in loaded.items():
        sys.modules.pop(name, None)
        if module:
            sys.modules[name] = module


@pytest.fixture
def refuse(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Runs a stage, which must refuse in one line; returns the line."""

    def run(stage: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{stage}.py", *STAGES[stage]])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "pipeline" / f"{stage}.py"), run_name="__main__")
        assert stop.value.code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.mark.parametrize("stage", STAGES)
def test_an_output_that_cannot_be_written(project: Path, refuse: Callable[[str], str], stage: str) -> None:
    output = project / OUTPUTS[stage]
    output.parent.mkdir(exist_ok=True)
    output.touch()
    before = sorted(project.rglob("*"))
    assert f"{output.name} is not a folder; move it away" in refuse(stage)
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_training_without_a_split(
    project: Path, tiny_data, refuse: Callable[[str], str], split: str
) -> None:
    shutil.copytree(tiny_data.raw, project / "data" / "raw")
    (project / "data" / "prepared").mkdir()
    (project / "data" / "weights").mkdir()
    write_without(tiny_data.prepared / "refcoco_unc.parquet", project, lambda found: found != split)
    assert f"refcoco_unc has no expression in split {split}" in refuse("train")
    assert not (project / "models").exists()


def test_a_training_and_an_evaluation_without_images(
    project: Path, tiny_data, refuse: Callable[[str], str]
) -> None:
    shutil.copytree(tiny_data.prepared, project / "data" / "prepared")
    (project / "data" / "weights").mkdir()
    for stage in ("train", "evaluate"):
        assert "the images of refcoco_unc are missing" in refuse(stage)


def test_an_evaluation_without_a_split(project: Path, tiny_data, refuse: Callable[[str], str]) -> None:
    (project / "data" / "prepared").mkdir(parents=True)
    write_without(tiny_data.prepared / "refcoco_unc.parquet", project, lambda found: found == "train")
    assert "nothing to evaluate: refcoco_unc has no expression in val, testA, testB" in refuse("evaluate")
    assert not (project / "results").exists()


def write_without(source: Path, project: Path, keep: Callable[[pd.Series], pd.Series]) -> None:
    table = load_table(source)
    table = table[keep(table["split"])]
    file = pa.Table.from_pandas(table, SCHEMA, preserve_index=False).cast(SCHEMA)
    pq.write_table(file, project / "data" / "prepared" / "refcoco_unc.parquet")
