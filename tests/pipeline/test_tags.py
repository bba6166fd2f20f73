"""The name of a training in MLflow and its tags, in projects with and without git."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import revision
import tags

from s2rm.config.load import load_params

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without git: parameters and presets."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    for folder in ("src", "pipeline"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "code.py").touch()
    for module in (revision, tags):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(project: Path) -> None:
    options = ["-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*options, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], cwd=project, check=True)


def describe(*overrides: str, run: str = "joint") -> tuple[str, dict[str, str]]:
    return tags.describe_run(load_params("params.yaml", overrides), run, "cpu")


def test_a_variant_is_named_after_what_differs_from_the_committed_parameters(project: Path) -> None:
    commit(project)
    assert describe() == (
        "full · seed 1",
        {"run": "joint", "variant": "full", "seed": "1", "device": "cpu"},
    )
    title, found = describe("fusion.balancing=false", "train.seed=3")
    assert title == "fusion.balancing=false · seed 3"
    assert (found["variant"], found["seed"]) == ("fusion.balancing=false", "3")


@pytest.mark.parametrize("preset", ["joint", "paper", "refcoco", "study"])
def test_a_preset_is_recognised_without_a_commit(project: Path, preset: str) -> None:
    """It differs in nearly every switch from what is committed."""
    commit(project)
    shutil.copyfile(project / "presets" / f"{preset}.yaml", project / "params.yaml")
    runs = load_params("params.yaml").runs
    run = next(iter(runs))
    before = f"{run} · " if len(runs) > 1 else ""
    for seed in (1, 2):
        title, found = describe(f"train.seed={seed}", run=run)
        assert title == f"{before}{preset} · seed {seed}"
        assert found["variant"] == found["preset"] == preset
    own = ("data.source=folder", "data.folder=/data", "train.workers=3", "tracking.experiment=mine")
    if preset != "study":
        assert describe(*own, run=run)[1]["preset"] == preset


@pytest.mark.parametrize(
    "override",
    [
        "loss.dice=0.5",
        "preprocess.sentence=sent",
        "data.source=refshapes",
        "runs.joint.train_on=[refcoco_unc]",
    ],
)
def test_what_differs_from_a_preset_is_not_that_preset(project: Path, override: str) -> None:
    commit(project)
    shutil.copyfile(project / "presets/joint.yaml", project / "params.yaml")
    assert "preset" not in describe(override)[1]


def test_a_variant_of_a_committed_preset_keeps_the_preset(project: Path) -> None:
    shutil.copyfile(project / "presets/study.yaml", project / "params.yaml")
    commit(project)
    title, found = describe("fusion.coparsing=none", "train.seed=4", run="structured")
    assert title == "structured · fusion.coparsing=none · seed 4"
    assert (found["variant"], found["preset"]) == ("fusion.coparsing=none", "study")


def test_a_name_has_few_switches_and_room_in_every_store(project: Path) -> None:
    commit(project)
    shutil.copyfile(project / "presets/paper.yaml", project / "params.yaml")
    title, found = describe("loss.dice=0.5", run="refcoco_unc")
    shown = re.fullmatch(r"refcoco_unc · (.*) and (\d+) more · seed 1", title)
    assert shown
    assert shown[1].count("=") == 3
    assert len(found["variant"].split(", ")) == 3 + int(shown[2])
    long = f"+vision.options.channels=[{','.join(['32'] * 100)}]"
    title, _ = describe(long, "train.seed=123456", run="refcoco_unc")
    assert len(title) == 200
    assert re.fullmatch(r"refcoco_unc · vision.*… and \d+ more · seed 123456", title)


@pytest.mark.faults
def test_a_preset_that_cannot_be_read_ends_no_training(project: Path) -> None:
    (project / "presets/joint.yaml").write_text("model: [")
    commit(project)
    assert describe()[0] == "full · seed 1"


def test_the_tags_say_whether_code_or_parameters_are_changed(project: Path) -> None:
    commit(project)
    (project / "untracked.txt").touch()
    assert tags.collect_tags()["dirty"] == "false"
    assert len(tags.collect_tags()["mlflow.source.git.commit"]) == 40
    for name in ("params.yaml", "src/code.py", "pipeline/code.py"):
        before = (project / name).read_text()
        (project / name).write_text(f"{before}\n# changed\n")
        assert tags.collect_tags()["dirty"] == "true", name
        (project / name).write_text(before)
    assert tags.collect_tags()["dirty"] == "false"


@pytest.mark.faults
@pytest.mark.parametrize("installed", [True, False])
def test_without_git_nothing_is_said_of_a_commit(
    project: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    if not installed:
        monkeypatch.setenv("PATH", str(project))
    found = tags.collect_tags()
    assert not found.keys() & {"dirty", "mlflow.source.git.commit", "mlflow.source.git.branch"}
    assert found["mlflow.source.type"] == "LOCAL"
    assert describe()[0] == ("full · seed 1" if installed else "? · seed 1")
