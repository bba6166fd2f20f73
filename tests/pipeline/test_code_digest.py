"""The digests of the code that each stage loads, over all modules of this project."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from code_digest import digest_scripts, join_names, list_changes
from digests import find_stages
from source_tree import SourceTree

from s2rm.config.params import MACHINE, Evaluate, Train

ROOT = Path(__file__).parents[2]
STAGES = find_stages(ROOT / "pipeline")
SCRIPTS = [f"pipeline.{stage}" for stage in STAGES]
MARKERS = {"s2rm/py.typed"}  # for type checkers; no stage reads it
OF_COMMANDS = {"s2rm/compare/compare.html.j2"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of src/, pipeline/ and params.yaml."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for name in ("src", "pipeline"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    return tmp_path


def read_stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml, without foreach."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


def test_dvc_yaml_names_no_source_file_but_depends_on_the_digests() -> None:
    stages = read_stages()
    assert stages.pop("digests")["always_changed"]
    assert len(stages) >= 6
    for name, stage in stages.items():
        script = Path(stage["cmd"].split()[1]).stem
        assert script in STAGES
        found = [dep for dep in stage["deps"] if dep.startswith(("src", "pipeline", ".digests"))]
        assert found == [f".digests/{script}.json"], name


def test_a_training_depends_on_each_parameter_that_decides_what_is_learnt() -> None:
    named = {key for stage in ("train", "evaluate") for key in read_stages()[stage]["params"]}
    known = {f"{s.__name__.lower()}.{key}" for s in (Train, Evaluate) for key in s.model_fields}
    assert {key for key in named if key.startswith(("train.", "evaluate."))} == known - set(MACHINE)
    assert set(MACHINE) < known


def test_the_committed_digests_are_those_of_the_code() -> None:
    """Else the clone of everybody who runs the pipeline has changed files."""
    committed = {path.stem: json.loads(path.read_text()) for path in (ROOT / ".digests").glob("*.json")}
    current = {name.removeprefix("pipeline."): found for name, found in digest_scripts(ROOT, SCRIPTS).items()}
    assert committed == current, "run `python pipeline/digests.py` and commit .digests"


@pytest.mark.slow
def test_a_broken_statement_changes_the_digest_of_each_stage_that_loads_it_and_of_no_other(
    checkout: Path,
) -> None:
    """Module number n is broken in round b if bit b of n is set, so any two differ in one round at least."""
    sources = SourceTree(checkout)
    closures = {script: sources.closure(script) for script in SCRIPTS}
    modules = sorted(sources.files)
    texts = {name: sources.files[name].read_text() for name in modules}
    before = digest_scripts(checkout, SCRIPTS)
    assert len(modules) > 90
    for bit in range(len(modules).bit_length()):
        broken = {name for number, name in enumerate(modules, start=1) if number >> bit & 1}
        for name in modules:
            sources.files[name].write_text(texts[name] + ("\n_broken = 1\n" if name in broken else ""))
        after = digest_scripts(checkout, SCRIPTS)
        for script in SCRIPTS:
            assert list_changes(before[script], after[script]) == sorted(broken & closures[script])


def test_each_stage_leaves_modules_out_and_each_module_of_training_is_in() -> None:
    """A closure of everything would pass the test above."""
    sources = SourceTree(ROOT)
    for script in SCRIPTS:
        assert len(sources.closure(script)) < 0.8 * len(sources.files), script
    train = sources.closure("pipeline.train")
    used = {"s2rm.model.fusion", "s2rm.training"}
    assert {name for name in sources.files if name.rpartition(".")[0] in used} <= train
    assert {"s2rm.config.benchmarks", "s2rm.scan.triton_gpu"} <= sources.closure("pipeline.evaluate")
    assert "s2rm.acquire.archives.catalog" in sources.closure("pipeline.weights")
    assert not {name for name in train if name.startswith(("s2rm.reporting", "s2rm.refshapes"))}


class Documenter(ast.NodeTransformer):
    """Gives a docstring to each module, class and function, and one to each attribute of a class."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if isinstance(node, ast.ClassDef):
                node.body = [part for each in node.body for part in (each, self.make()) if not _is_text(each)]
            node.body = [self.make(), *(each for each in node.body if not _is_text(each))]
        return node

    def make(self) -> ast.Expr:
        return ast.Expr(ast.Constant("Another docstring."))


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def test_comments_docstrings_and_formatting_of_all_modules_change_no_digest(checkout: Path) -> None:
    before = digest_scripts(checkout, SCRIPTS)
    for path in [*checkout.glob("src/**/*.py"), *checkout.glob("pipeline/*.py")]:
        tree = ast.parse(path.read_text())
        head = "".join(f"{ast.unparse(node)}\n" for node in tree.body if _is_future(node))
        rest = ast.Module([node for node in tree.body if not _is_future(node)], [])
        text = ast.unparse(ast.fix_missing_locations(Documenter().visit(rest)))  # drops comments and layout
        path.write_text(f"# a comment\n{head}{text}\n\n# another comment\n")
    assert digest_scripts(checkout, SCRIPTS) == before


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


@pytest.mark.slow
def test_each_data_file_counts_where_it_is_read(checkout: Path) -> None:
    sources = SourceTree(checkout)
    before = digest_scripts(checkout, SCRIPTS)
    readers = {}
    for name, path in sources.data.items():
        path.write_bytes(path.read_bytes() + b"\n")
        after = digest_scripts(checkout, SCRIPTS)
        changes = {script: list_changes(before[script], after[script]) for script in SCRIPTS}
        readers[name] = {script.removeprefix("pipeline.") for script in SCRIPTS if changes[script]}
        assert all(changed in ([], [name]) for changed in changes.values())
        before = after
    assert readers.keys() - MARKERS >= {"s2rm/refer/split_sizes.csv", "s2rm/reporting/tables/published.csv"}
    assert {name for name, stages in readers.items() if not stages} <= MARKERS | OF_COMMANDS
    assert "preprocess" in readers["s2rm/refer/split_sizes.csv"]
    assert readers["s2rm/reporting/tables/published.csv"] == {"report"}


SAMPLE = """
@cached(size=1)
def f(a, /, b: int = 0x10, *c, d=1_000.0, e, **g) -> list[str]:
    if (n := len(c)) > 3 and not a or b is None:
        return [f"{a!r:>{n}}" "-" rf"\\{b}" for a, *b in c if a not in b]
    lambda x, *, y=2j: (yield x @ y) if x else b"\\xff" + ...
class K(Base, metaclass=M):
    field: int | None = None
    async def m(self): return {**await self.x, "é": {1, 2}, None: x[1:, ::2]}
try:
    with open(a) as b, c: pass
except* (A, B) as error: raise error from None
match x:
    case {"k": [1, *_], **r} | K(a=None): global q; del r
    case -1.5 | True: assert x, u"why"
"""
DIGEST_OF_SAMPLE = "b89b9eda60bb8518"


def digest_text(folder: Path, text: str) -> str:
    (folder / "pipeline").mkdir(exist_ok=True)
    (folder / "pipeline/script.py").write_text(text)
    return digest_scripts(folder, ["pipeline.script"])["pipeline.script"]["pipeline.script"]


def test_every_version_of_python_gives_the_same_digest(tmp_path: Path) -> None:
    assert digest_text(tmp_path, SAMPLE) == DIGEST_OF_SAMPLE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "# comment\n"),
        ("", '"""Docstring."""\n'),
        ("def f(): pass\n", 'def f():\n    """Docstring."""\n'),
        ("def f(): ...\n", 'def f():\n    """Docstring."""\n'),
        ("class K:\n    x: int = 1\n", 'class K:\n    x: int = 1\n    """What x is."""\n'),
        ("if x:\n    y()\n", "if x:\n    y()\nelse:\n    pass\n"),
        ("x = f(1, 'a')\n", 'x = (\n    f(\n        1,\n        u"a",\n    )\n)\n'),
        ("x = 16\n", "x = 0x1_0  # type: int\n"),
        ("__version__ = '1'\n", "__version__ = '2'\n"),
    ],
)
def test_what_does_not_count(tmp_path: Path, before: str, after: str) -> None:
    assert digest_text(tmp_path, before) == digest_text(tmp_path, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\n", "x = 1.0\n"),
        ("x = 1\n", "x = True\n"),
        ("x = 'a'\n", "x = b'a'\n"),
        ("x = None\n", "x: None\n"),
        ("return_ = [a, b]\n", "return_ = [b, a]\n"),
        ("def f(): return\n", "def f(): return None\n"),
        ("def f(x=1): pass\n", "def f(x=2): pass\n"),
        ("def f(x: int): pass\n", "def f(x: str): pass\n"),
        ("def f(x): pass\n", "@jit\ndef f(x): pass\n"),
        ("def f(*, x, y=1): pass\n", "def f(*, x=1, y): pass\n"),
        ("x = {None: 1}\n", "x = {**1}\n"),
        ("x = a + b\n", "x = a - b\n"),
        ("f()\n", "f('')\n"),
        ("x = f'{a}'\n", "x = f'{a!r}'\n"),
        ("f()\ng()\n", "g()\nf()\n"),
        ("import a\n", "import a as b\n"),
        ("for x in y:\n    f()\nelse:\n    g()\n", "for x in y:\n    f()\n    g()\n"),
    ],
)
def test_what_counts(tmp_path: Path, before: str, after: str) -> None:
    assert digest_text(tmp_path, before) != digest_text(tmp_path, after)


def test_messages_name_the_first_few() -> None:
    assert join_names(["a", "b"]) == "a, b"
    assert join_names([str(number) for number in range(11)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 3 more"


class Stage:
    """pipeline/digests.py as a program, in a copy of the code."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.folder = checkout / ".digests"

    def run(self) -> str:
        # The installed s2rm is that of another folder, as it is for an experiment's copy.
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            [sys.executable, "pipeline/digests.py"], cwd=self.checkout, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def read(self) -> dict[str, dict[str, str]]:
        return {path.stem: json.loads(path.read_text()) for path in self.folder.glob("*.json")}


def test_the_stage_writes_one_file_per_stage_and_names_what_changed(checkout: Path) -> None:
    stage = Stage(checkout)
    assert stage.run() == ""
    first = stage.read()
    assert first == {
        name.removeprefix("pipeline."): found for name, found in digest_scripts(ROOT, SCRIPTS).items()
    }
    module = checkout / "src/s2rm/model/fusion/coparse.py"
    module.write_text(module.read_text() + "_broken = 1\n")
    assert [line for line in stage.run().splitlines() if "train" in line] == [
        "what train depends on changed: s2rm.model.fusion.coparse"
    ]
    assert list_changes(first["train"], stage.read()["train"]) == ["s2rm.model.fusion.coparse"]
    assert stage.read()["download"] == first["download"]

    (stage.folder / "train.json").write_text("<<<<<<< ours\n{}\n")  # a merge that was not resolved
    (stage.folder / "removed.json").write_text("{}\n")  # of a stage that is gone
    assert stage.run() == ""
    assert stage.read().keys() == first.keys()


def test_a_broken_module_stops_the_stage_with_one_line(checkout: Path) -> None:
    (checkout / "src/s2rm/model/fusion/coparse.py").write_text("x = 1\ndef (\n")
    done = subprocess.run(
        [sys.executable, "pipeline/digests.py"], cwd=checkout, text=True, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: src/s2rm/model/fusion/coparse.py:2 is not valid Python: invalid syntax\n"
