"""Which modules and data files a script loads: small projects whose answer is known."""

from pathlib import Path

import pytest
from source_tree import SourceTree

from s2rm.core.errors import UserError

EVERYTHING = {
    "pipeline.run", "p", "p.base", "p.lazy", "p.lazy.a", "p.lazy.b", "p.deep", "p.deep.inner", "p.deep.other",
    "p.plain", "p.plain.leaf",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package p with a package p.lazy, which loads its names when they are first used."""
    files = {
        "pipeline/run.py": "",
        "src/p/__init__.py": "",
        "src/p/base.py": "",
        "src/p/lazy/__init__.py": (
            "import importlib\nfrom typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from p.lazy.a import A\n"
            "__version__ = '1'\nHOMES = {'A': 'p.lazy.a', 'B': 'p.lazy.b'}\n"
            "def plain(): ...\n"
            "def __getattr__(name):\n    return getattr(importlib.import_module(HOMES[name]), name)\n"
        ),
        "src/p/lazy/a.py": "A = 1\n",
        "src/p/lazy/b.py": "import p.base\nB = 1\n",
        "src/p/deep/__init__.py": "",
        "src/p/deep/inner.py": "",
        "src/p/deep/other.py": "from . import inner\n",
        "src/p/plain/__init__.py": "from p.plain.leaf import Leaf\n",
        "src/p/plain/leaf.py": "Leaf = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def load(root: Path, text: str) -> set[str]:
    """What a script with this text loads beside itself and p."""
    (root / "pipeline/run.py").write_text(text)
    closure = SourceTree(root).closure("pipeline.run")
    assert "pipeline.run" in closure
    return closure - {"pipeline.run", "p"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os, json.decoder\nfrom collections.abc import Mapping\n", set()),
        ("import p.base\n", {"p.base"}),
        ("from p import base\n", {"p.base"}),
        ("import p\nprint(p.base)\n", {"p.base"}),
        ("def main():\n    from p.base import x\n", {"p.base"}),
        ("try:\n    import p.base\nexcept ImportError:\n    pass\n", {"p.base"}),
        ("import p.deep.inner\n", {"p.deep", "p.deep.inner"}),
        ("from p.deep import other\n", {"p.deep", "p.deep.other", "p.deep.inner"}),
        ("from p.deep.other import x\n", {"p.deep", "p.deep.other", "p.deep.inner"}),
        ("from p.plain import Leaf\n", {"p.plain", "p.plain.leaf"}),
        ("import p.plain\n", {"p.plain", "p.plain.leaf"}),
    ],
)
def test_imports_are_followed(root: Path, text: str, expected: set[str]) -> None:
    assert load(root, text) == expected


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_imports_for_types_only_are_not_followed(root: Path, test: str) -> None:
    head = "import typing\nfrom typing import TYPE_CHECKING\n"
    assert load(root, f"{head}if {test}:\n    import p.base\nelse:\n    import p.deep\n") == {"p.deep"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import p.lazy\n", set()),
        ("from p.lazy import __version__, plain\n", set()),
        ("from p.lazy import A\n", {"p.lazy.a"}),
        ("from p import lazy\nlazy.A\n", {"p.lazy.a"}),
        ("import p.lazy\np.lazy.A\n", {"p.lazy.a"}),
        ("import p.lazy as short\ndef main():\n    return short.B\n", {"p.lazy.b", "p.base"}),
        ("from p.lazy import *\n", {"p.lazy.a", "p.lazy.b", "p.base"}),
    ],
)
def test_a_lazy_package_loads_what_is_taken_from_it(root: Path, text: str, expected: set[str]) -> None:
    assert load(root, text) == {"p.lazy", *expected}


def test_a_name_that_a_lazy_package_does_not_list_stands_for_everything(root: Path) -> None:
    assert load(root, "from p.lazy import C\n") == EVERYTHING - {"pipeline.run", "p"}


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nimportlib.import_module('p.base')\n",
        "from importlib import import_module as load\nload('p.base')\n",
        "__import__('p.base')\n",
    ],
)
def test_imports_by_a_literal_name_are_followed(root: Path, text: str) -> None:
    assert load(root, text) == {"p.base"}


def test_imports_by_a_relative_literal_name_are_followed(root: Path) -> None:
    (root / "src/p/deep/__init__.py").write_text(
        "from importlib import import_module\nimport_module('.inner', 'p.deep')\n"
    )
    assert load(root, "import p.deep\n") == {"p.deep", "p.deep.inner"}


def test_an_import_by_a_computed_name_stands_for_everything(root: Path) -> None:
    assert load(root, "import importlib\nimportlib.import_module(f'p.{x}')\n") == EVERYTHING - {
        "pipeline.run",
        "p",
    }


def test_relative_imports_are_followed(root: Path) -> None:
    (root / "src/p/deep/inner.py").write_text(
        "from ..lazy import A\nfrom .. import base\nfrom .other import x\n"
    )
    expected = {"p.deep", "p.deep.inner", "p.deep.other", "p.lazy", "p.lazy.a", "p.base"}
    assert load(root, "import p.deep.inner\n") == expected


def test_scripts_import_their_neighbours(root: Path) -> None:
    (root / "pipeline/common.py").write_text("import p.base\n")
    assert load(root, "import common\n") == {"pipeline.common", "p.base"}
    (root / "src/p/base.py").write_text("import common\n")  # another library's, for a module of the package
    assert load(root, "import p.base\n") == {"p.base"}


BELOW_DEEP = {"p/deep/a.csv", "p/deep/more/b.txt"}


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        ("from importlib.resources import files\nfiles('p.deep').joinpath(name)\n", BELOW_DEEP),
        ("PackageLoader(package_name='p.deep')\n", BELOW_DEEP),
        ("import p.deep\nfiles(p.deep)\n", BELOW_DEEP),
        ("Path(__file__).parent / 'c.csv'\n", {"p/c.csv"}),
        ("files(__package__)\n", {"p/c.csv"}),
        ("import p.deep\nname = 'p.deep'\n", set()),
    ],
)
def test_data_files_belong_to_the_modules_that_read_them(root: Path, reader: str, expected: set[str]) -> None:
    (root / "src/p/deep/more").mkdir()
    (root / "src/p/deep/__pycache__").mkdir()
    for name in (
        "c.csv",
        "deep/a.csv",
        "deep/more/b.txt",
        "deep/__pycache__/x.pyc",
        "deep/.hidden",
        "deep/a.csv~",
    ):
        (root / "src/p" / name).write_text("1")
    (root / "src/p/base.py").write_text(reader)
    assert load(root, "import p.base\n") - {"p.deep"} == {"p.base", *expected}


def test_a_module_that_is_not_valid_python_is_named(root: Path) -> None:
    (root / "src/p/base.py").write_text("x = 1\nx = = 2\n")
    with pytest.raises(UserError, match=r"^src/p/base\.py:2 is not valid Python: invalid syntax$"):
        load(root, "import p.base\n")
    assert load(root, "import p.plain\n") == {"p.plain", "p.plain.leaf"}, "it does not load the broken one"
