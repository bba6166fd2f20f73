"""Folders that DVC would not take are refused before the work."""

from pathlib import Path

import paths
import pytest

from s2rm.core.errors import UserError


@pytest.mark.parametrize("name", ["data", "models", "results"])
def test_a_linked_output_folder_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths.refuse_links()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"^{name} is a link to .*elsewhere, .*`dvc cache dir --local "):
        paths.refuse_links()


def test_a_project_that_is_reached_by_a_link_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project" / "data").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "link")
    paths.refuse_links()
