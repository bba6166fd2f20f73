"""The project's folder, and outputs that cannot be written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from s2rm.core.errors import UserError
from s2rm.core.project import enter_project, find_root, require_writable


def test_the_project_is_found_from_within(tmp_path: Path) -> None:
    (tmp_path / "project" / "data" / "raw").mkdir(parents=True)
    (tmp_path / "project" / "dvc.yaml").touch()
    for inside in ("project", "project/data", "project/data/raw"):
        assert find_root(tmp_path / inside) == tmp_path.resolve() / "project"
    assert find_root(tmp_path) is None


@pytest.mark.parametrize("name", ["models", "data/raw", "new/with/folders"])
def test_outputs_that_can_be_written(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    require_writable(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    require_writable(Path(name))
    assert not Path("models").exists()


def link(folder: Path) -> None:
    (folder / "models").symlink_to(folder / "nowhere")


def link_to_file(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "models").symlink_to(folder / "file")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda folder: (folder / "models").touch(), "models is not a folder; move it away"),
        (link, "models is a link to .*nowhere, which does not exist; create it, or remove the link"),
        (link_to_file, "models is not a folder"),
    ],
)
def test_what_is_in_the_way_is_named(tmp_path: Path, broken: Callable[[Path], object], said: str) -> None:
    broken(tmp_path)
    for output in ("models", "models/joint", "models/joint/deep"):
        with pytest.raises(UserError, match=said):
            require_writable(tmp_path / output)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_another_user_is_named(tmp_path: Path) -> None:
    inner = tmp_path / "data" / "raw" / "images"
    inner.mkdir(parents=True)
    inner.chmod(0o555)
    with pytest.raises(UserError, match=f"may not write to {inner}"):
        require_writable(tmp_path / "data" / "raw")
    inner.chmod(0o755)


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
