"""Which part knows which library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [*ROOT.glob("src/**/*.py"), *ROOT.glob("pipeline/**/*.py")]


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports, at its head or inside of functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_one_door_to_mlflow() -> None:
    doors = {file.relative_to(ROOT).parent.as_posix() for file in FILES if "mlflow" in imported(file)}
    assert doors == {"src/s2rm/tracking"}


def test_only_the_pipeline_knows_dvc() -> None:
    package = [file for file in FILES if file.is_relative_to(ROOT / "src")]
    assert len(package) > 30
    users = [file for file in package if {"dvc", "dvclive"} & imported(file)]
    assert users == [ROOT / "src/s2rm/config/overrides.py"], "what a value after -S means"
    assert not [file for file in package if '"DVC_' in file.read_text(encoding="utf-8")]


def test_the_pipeline_is_not_imported_by_the_package() -> None:
    stages = {file.stem for file in ROOT.glob("pipeline/*.py")}
    package = [file for file in FILES if file.is_relative_to(ROOT / "src")]
    assert not [file for file in package if (stages | {"pipeline"}) & imported(file)]


@pytest.mark.parametrize(
    "module",
    ["s2rm", "s2rm.config.params", "s2rm.config.benchmarks", "s2rm.core.errors", "s2rm.tracking.live"],
)
def test_light_modules_load_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(*{{'torch', 'transformers', 'mlflow', 'timm'}} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_the_digests_of_the_stages_load_no_heavy_library() -> None:
    """`dvc repro` computes them each time."""
    code = """
import sys
sys.path[0] = "pipeline"
import digests
print(*{"torch", "numpy", "pandas", "dvc", "mlflow"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() == []


def test_training_and_evaluation_need_no_library_that_a_gpu_machine_may_lack() -> None:
    """With `tracking.enabled=false`, from prepared tables: no DVC, no MLflow, no pycocotools, no reports."""
    lacking = ("dvc", "mlflow", "pycocotools", "matplotlib", "jinja2", "requests", "scipy")
    code = f"""
import sys
for name in {lacking}:
    sys.modules[name] = None
import s2rm.evaluation.evaluate, s2rm.predictor, s2rm.training.loop
"""
    subprocess.run([sys.executable, "-c", code], check=True)
