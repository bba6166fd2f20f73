"""The command lines of the stages, and that each of them runs the code beside it."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
import yaml
from digests import find_stages

from s2rm.core.errors import exit_on_user_error

ROOT = Path(__file__).parents[2]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "expected one {}, got 0"),
        (["one", "two"], "expected one {}, got 2"),
        (["no_such"], "unknown {} 'no_such'"),
    ],
)
@pytest.mark.parametrize(
    ("stage", "kind", "known"),
    [
        ("train", "run", PARAMS["runs"]),
        ("evaluate", "run", PARAMS["runs"]),
        ("preprocess", "benchmark", PARAMS["data"]["benchmarks"]),
    ],
)
def test_a_wrong_command_line_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    kind: str,
    known: Collection[str],
    arguments: list[str],
    fault: str,
) -> None:
    main = importlib.import_module(stage).main
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("S2RM_LAUNCH", "no-such-launcher")  # the command line is checked before
    monkeypatch.setattr(sys, "argv", [f"pipeline/{stage}.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        exit_on_user_error(main)
    assert ended.value.code == 2
    usage = f"usage: python pipeline/{stage}.py {kind.upper()}; params.yaml has {', '.join(known)}"
    assert capsys.readouterr().err == f"error: {fault.format(kind)}; {usage}\n"


@pytest.mark.parametrize("stage", [*find_stages(ROOT / "pipeline"), "digests"])
def test_every_script_puts_its_own_code_first(stage: str) -> None:
    """Its first import that is not of the standard library is `context`."""
    tree = ast.parse((ROOT / f"pipeline/{stage}.py").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [node.names[0].name if isinstance(node, ast.Import) else str(node.module) for node in imports]
    first = next(name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names)
    assert first == "context"


def test_a_copy_runs_its_own_code(tmp_path: Path) -> None:
    """As in an experiment's copy, where the environment's s2rm is that of the project's folder."""
    for name in ("src", "pipeline"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; sys.path[0] = 'pipeline'; import download, s2rm; print(s2rm.__file__)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert Path(out.strip()) == tmp_path / "src/s2rm/__init__.py"
