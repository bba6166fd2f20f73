"""What a machine lacks for `make setup` is said in one line, with what helps."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from check_setup import find_error, find_notes

ROOT = Path(__file__).parents[2]
GLIBC = ("glibc", "2.36")


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14)])
@pytest.mark.parametrize("system", ["Linux x86_64", "Linux aarch64", "Darwin arm64"])
def test_a_machine_that_can_be_set_up(version: tuple[int, int], system: str) -> None:
    assert find_error(version, system, GLIBC if system.startswith("Linux") else ("", "")) == ""


@pytest.mark.parametrize(
    ("version", "system", "libc", "words"),
    [
        ((3, 10), "Linux x86_64", GLIBC, "needs Python 3.11 or newer, this is 3.10: make PYTHON="),
        ((3, 6), "Linux x86_64", GLIBC, "needs Python 3.11 or newer, this is 3.6"),
        ((3, 15), "Linux x86_64", GLIBC, "no packages for Python 3.15: make PYTHON="),
        ((3, 12), "Darwin x86_64", ("", ""), "torch has no builds for Darwin x86_64, only for Linux x86_64"),
        ((3, 12), "Linux ppc64le", GLIBC, "torch has no builds for Linux ppc64le"),
        ((3, 12), "Linux x86_64", ("", ""), "torch has no builds for a system without glibc"),
        ((3, 12), "Linux x86_64", ("glibc", "2.17"), "torch needs glibc 2.28 or newer, this is 2.17"),
    ],
)
def test_a_machine_that_cannot(
    version: tuple[int, int], system: str, libc: tuple[str, str], words: str
) -> None:
    error = find_error(version, system, libc)
    assert words in error
    assert "\n" not in error


def test_python_without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)  # as on Debian without python3-venv
    assert find_error((3, 12), "Linux x86_64", GLIBC).endswith("apt install python3.12-venv")


@pytest.fixture
def no_git_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_") or name == "EMAIL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.mark.usefixtures("no_git_config")
def test_the_advice_about_git_helps(tmp_path: Path) -> None:
    """The commands of each note are run; then there is nothing to note."""
    folder = tmp_path / "a zip"
    folder.mkdir()
    (folder / "file").touch()
    repository, identity = find_notes(str(folder))
    for note in (identity, repository):
        commands = note.rpartition(": ")[2].replace("ADDRESS", "me@example.org")
        subprocess.run(commands, shell=True, cwd=folder, check=True)
    assert find_notes(str(folder)) == []


@pytest.mark.usefixtures("no_git_config")
def test_an_identity_by_environment_or_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert len(find_notes(str(tmp_path))) == 1
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "me")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "me@example.org")
    assert find_notes(str(tmp_path)) == []


def test_a_folder_inside_of_another_repository_is_none(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "download").mkdir()
    assert any("not a git repository" in note for note in find_notes(str(tmp_path / "download")))


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_notes() == ["git is missing, and DVC needs it: on Debian and Ubuntu, apt install git"]


def make(folder: Path, *arguments: str) -> list[str]:
    """The commands that make would run."""
    done = subprocess.run(["make", "-n", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_the_demo_installs_locked_packages_without_the_dev_extra(checkout: Path) -> None:
    commands = make(checkout, "demo")
    assert any(
        "--require-hashes --constraints requirements.lock -r pyproject.toml" in each for each in commands
    )
    assert not any("--extra dev" in each or "--torch-backend" in each for each in commands)
    assert any("--extra dev" in each for each in make(checkout, "test"))


def test_torch_by_a_backend_is_remembered(checkout: Path) -> None:
    for target in ("setup", "test"):
        installs = [each for each in make(checkout, "TORCH=cpu", target) if " -r pyproject.toml" in each]
        assert installs
        assert all("--torch-backend cpu --constraints" in each for each in installs)
        assert not any("--require-hashes" in each for each in installs)
    (checkout / ".venv").mkdir()
    (checkout / ".venv/torch-backend").write_text("cpu\n")
    (checkout / ".venv/.ready").touch()
    assert not any("uv" in each for each in make(checkout, "demo"))  # not CUDA's builds over them
    assert any("--clear .venv" in each for each in make(checkout, "TORCH=", "setup"))
    assert any("--torch-backend cu126" in each for each in make(checkout, "TORCH=cu126", "setup"))


@pytest.mark.parametrize("target", ["setup", "demo", "test", "ui", "dev"])
def test_an_environment_of_another_folder_is_refused(checkout: Path, target: str) -> None:
    shutil.copytree(ROOT / "tools", checkout / "tools")
    here, moved = checkout / "two words", checkout / "elsewhere/two words"
    here.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.move(checkout / name, here)
    shutil.move(checkout / "tools", here)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=here, check=True)
    for name in (".ready", ".ready-dev"):
        (here / ".venv" / name).touch()
    assert not any("--editable" in each for each in make(here, "setup"))
    moved.parent.mkdir()
    shutil.copytree(here, moved, symlinks=True)
    done = subprocess.run(["make", target], cwd=moved, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    first, _ = done.stderr.splitlines()
    assert first == "error: .venv was made in another folder, and works only there: rm -r .venv"
    shutil.rmtree(moved / ".venv")
    assert any("venv  .venv" in each for each in make(moved, "setup"))


def test_versions_without_hashes_are_those_of_the_lock(checkout: Path) -> None:
    (command,) = [each for each in make(checkout, "setup") if each.startswith("sed ")]
    (checkout / ".venv").mkdir()
    subprocess.run(command, shell=True, cwd=checkout, check=True)
    versions = (checkout / ".venv/versions.txt").read_text().splitlines()
    lock = (checkout / "requirements.lock").read_text().splitlines()
    assert versions == [line.removesuffix("\\") for line in lock if re.match(r"[a-z]", line)]
