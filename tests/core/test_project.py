"""Commands find their project from its subfolders."""

from pathlib import Path

import pytest

from s2rm.core.project import enter_project


@pytest.mark.parametrize("started", [".", "docs", "docs/pictures", "link"])
def test_the_project_is_found_from_its_folders(
    started: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "a project"
    (project / "docs" / "pictures").mkdir(parents=True)
    (project / "link").symlink_to(project / "docs")
    (project / "dvc.yaml").touch()
    monkeypatch.chdir(project / started)
    assert enter_project() == project
    assert Path.cwd() == project


def test_outside_of_a_project_the_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.yaml").mkdir()  # a folder is none
    monkeypatch.chdir(tmp_path)
    assert enter_project() == Path.cwd() == tmp_path
