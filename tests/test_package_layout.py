"""The layout of the package: names that are unique, folders that are small, data files that are installed."""

import ast
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "s2rm"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_MODULES = 15  # in a folder, without its __init__ and without those of its folders
MOST_SHARE = 0.15  # of the package's lines, in a folder with all of its folders


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


def repeated(pairs: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    """Name → the files that have it, for names of several files."""
    files = defaultdict(list)
    for name, path in pairs:
        files[name].append(name_of(path))
    return {name: found for name, found in files.items() if len(found) > 1}


def test_no_module_or_folder_has_the_name_of_another() -> None:
    folders = {path.parent for path in MODULES} - {PACKAGE}
    names = [(path.stem, path) for path in MODULES if path.stem != "__init__"]
    assert repeated([*names, *((folder.name, folder) for folder in folders)]) == {}


def test_no_public_class_has_the_name_of_another() -> None:
    classes = [
        (node.name, path)
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert len(classes) > 50
    assert repeated(classes) == {}


def test_no_folder_has_too_many_modules() -> None:
    counts = Counter(name_of(path.parent) for path in MODULES if path.stem != "__init__")
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_no_folder_has_too_many_lines() -> None:
    counts: Counter[str] = Counter()
    for path in MODULES:
        count = len(path.read_text(encoding="utf-8").splitlines())
        counts.update(
            {name_of(folder): count for folder in path.parents if PACKAGE in (folder, *folder.parents)}
        )
    total = counts.pop("s2rm")
    shares = {
        folder: f"{count / total:.1%}" for folder, count in counts.items() if count > MOST_SHARE * total
    }
    assert shares == {}, f"more than {MOST_SHARE:.0%} of {total} lines"


def test_every_data_file_is_declared_and_every_declaration_names_a_file() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    declared = {
        (ROOT / "src" / Path(*package.split(".")), pattern)
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
    }
    files = [
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.parent.name != "__pycache__"
    ]
    assert files
    missing = [
        name_of(path)
        for path in files
        if not any(path.parent == folder and fnmatch(path.name, pattern) for folder, pattern in declared)
    ]
    assert missing == [], "add them to [tool.setuptools.package-data] in pyproject.toml"
    idle = [(name_of(folder), pattern) for folder, pattern in declared if not list(folder.glob(pattern))]
    assert idle == [], "these declarations name no file"
