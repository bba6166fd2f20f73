"""The pipeline as a user whom /etc/passwd does not know, as compose.yaml's USER_ID and clusters have it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clone import Clone, make_model_small

ROOT = Path(__file__).parents[2]
# A user namespace: files keep their owner, and who asks for the user's id is told this one.
AS_OTHER = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
pytestmark = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*AS_OTHER, "true"], check=False).returncode != 0,
    reason="unshare --user is not allowed here",
)


def image_environment(home: Path) -> dict[str, str]:
    """What docker/Dockerfile sets for the user, at another home."""
    found = dict(re.findall(r"\b(HOME|USER|LOGNAME)=(\S+)", (ROOT / "docker/Dockerfile").read_text()))
    assert found.keys() == {"HOME", "USER", "LOGNAME"}
    return {**found, "HOME": str(home)}


def make_tiny(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = ["refcocog_umd"]
    params["data"]["refshapes"] |= {"train_images": 8, "eval_images": 2}
    params["runs"] = {"tiny": {"train_on": ["refcocog_umd"], "evaluate_on": ["refcocog_umd"]}}
    make_model_small(params)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_pipeline_in_the_environment_of_the_image(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", make_tiny)
    for part in ("email", "name"):  # the image has them for all repositories
        clone.git("config", "--unset", f"user.{part}")
    (tmp_path / "home").mkdir()
    git = {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    (tmp_path / "gitconfig").write_text("[user]\n\tname = s2rm\n\temail = s2rm@localhost\n")
    path = {name: clone.environment[name] for name in ("PATH", "PYTHONPATH")}
    environment = {**path, **git, **image_environment(tmp_path / "home")}
    for command in (["repro"], ["exp", "run", "-S", "evaluate.threshold=0.4"]):
        done = subprocess.run(
            [*AS_OTHER, sys.executable, "-m", "dvc", *command], cwd=clone.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        assert "getpwuid" not in done.stdout
    assert (clone.folder / "reports/index.html").exists()


@pytest.mark.parametrize("given", [{}, {"LOGNAME": "somebody"}, {"USER": "me"}, {"USER": ""}])
def test_make_gives_dvc_a_name_for_the_user(given: dict[str, str]) -> None:
    code = "import getpass; print(getpass.getuser())"
    show = f"show: ; @{sys.executable} -c '{code}'"
    done = subprocess.run(
        [*AS_OTHER, "make", "--silent", f"--eval={show}", "show"], cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (given.get("USER") or given.get("LOGNAME") or "12345")


def test_without_a_name_the_advice_helps(tmp_path: Path) -> None:
    """docs/troubleshooting.md: DVC's own message, and the variable that it needs."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    dvc = [*AS_OTHER, sys.executable, "-m", "dvc"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DVC_NO_ANALYTICS": "1"}
    subprocess.run([*dvc, "init", "-q"], cwd=tmp_path, env={**environment, "USER": "me"}, check=True)
    without = subprocess.run(
        [*dvc, "status"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "getpwuid(): uid not found: 12345" in without.stderr
    given = {**environment, "USER": "me"}
    subprocess.run([*dvc, "status"], cwd=tmp_path, env=given, capture_output=True, check=True)
