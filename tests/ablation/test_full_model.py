"""The full model of a study is the committed one, whatever the last experiment left in the folder."""

import subprocess
from pathlib import Path

import pytest

from s2rm.ablation.full_model import load_full
from s2rm.ablation.runs import collect
from s2rm.core.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return tmp_path


def commit(folder: Path) -> None:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def ablate(project: Path) -> None:
    """What `dvc exp run -S fusion.balancing=false` leaves."""
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("balancing: true", "balancing: false"))


def test_what_an_experiment_left_in_the_folder_does_not_count(project: Path) -> None:
    commit(project)
    assert load_full()[1] == "params.yaml as last committed"
    ablate(project)
    full, origin = load_full()
    assert full.fusion.balancing
    assert origin.startswith("params.yaml as last committed, not with the changes in your folder (--full ")
    full, origin = load_full(Path("params.yaml"))
    assert not full.fusion.balancing
    assert origin == "params.yaml"
    (project / "params.yaml").unlink()
    assert load_full()[0].fusion.balancing


def test_a_project_in_a_subfolder_of_a_repository(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = project / "inner"
    inner.mkdir()
    ablate(project)
    (project / "params.yaml").rename(inner / "params.yaml")
    commit(project)
    monkeypatch.chdir(inner)
    assert not load_full()[0].fusion.balancing


def test_without_git_the_file_counts_and_it_is_said(project: Path) -> None:
    assert load_full()[1] == "params.yaml, which is not committed in git"
    (project / "params.yaml").write_text("a: 1\n")
    with pytest.raises(UserError, match=r"^params\.yaml: unknown key a"):
        load_full()
    commit(project)
    with pytest.raises(UserError, match=r"^the committed params\.yaml: unknown key a"):
        load_full()


def test_the_committed_study_is_that_of_its_preset() -> None:
    full, _ = load_full(ROOT / "presets/study.yaml")
    study = collect(full, None, ROOT / "reports/ablations/study.parquet")
    assert study.left_out == []
    assert set(study.scores["run"][study.scores["variant"] == "full"]) == set(full.runs)
