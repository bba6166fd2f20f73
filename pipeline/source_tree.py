"""Find which modules and data files of this project a script loads.

The answer is read from the sources; nothing is imported. Followed are imports at the top of a module and
inside functions, the `__init__` of every parent package, and module names that are passed to a call, as in
`importlib.import_module("s2rm.cli")`. A package with a module-level `__getattr__` loads a name only for those
who take it from the package; its literal table of name → module says what that loads. Blocks under
`if TYPE_CHECKING:` are not followed. A name that cannot be known without running the code stands for all
modules: the answer may be too large, but not too small.

The data files of a package (csv, templates, …) count for each module that passes the package to a call, as in
`files("s2rm.refer")` or `PackageLoader("s2rm.reporting", ".")`, or that uses its own `__file__`.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from s2rm.core.errors import UserError

OWN_FOLDER = {"__file__", "__package__", "__path__", "__spec__"}


class SourceTree:
    """The code of one checkout.

    Attributes:
        files: module → its file. Modules below src/ have their dotted name; pipeline/x.py is `pipeline.x`.
        data: data file → its path. The name of a data file is its path below src/.
    """

    def __init__(self, root: Path) -> None:
        """Find the files of the checkout in the folder `root`, which contains src/ and pipeline/."""
        self.root = root
        self.files = {**_find_modules(root / "src"), **_find_modules(root / "pipeline", "pipeline.")}
        self.data: dict[str, Path] = {}
        self._data_of: dict[str, list[str]] = {}
        for package, path in self.files.items():
            if path.name == "__init__.py":
                found = {each.relative_to(root / "src").as_posix(): each for each in _find_data(path.parent)}
                self._data_of[package] = list(found)
                self.data |= found
        self._trees: dict[str, ast.Module] = {}
        self._loads: dict[str, set[str]] = {}

    def parse(self, module: str) -> ast.Module:
        """Return a module's syntax tree.

        Raises:
            UserError: the file is not valid Python.
        """
        if module not in self._trees:
            path = self.files[module]
            try:
                self._trees[module] = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError) as error:
                name, line = path.relative_to(self.root).as_posix(), getattr(error, "lineno", None) or 1
                raise UserError(
                    f"{name}:{line} is not valid Python: {getattr(error, 'msg', error)}"
                ) from None
        return self._trees[module]

    def closure(self, script: str) -> set[str]:
        """Return the names of all modules and data files that a script may load, its own included.

        Args:
            script: name of its module, such as "pipeline.train".

        Raises:
            UserError: one of them is not valid Python.
        """
        found: set[str] = set()
        todo = {script}
        while todo:
            name = todo.pop()
            found.add(name)
            todo |= (self._load(name) if name in self.files else set()) - found
        return found

    def _load(self, module: str) -> set[str]:
        """Return what a module itself loads: modules with their parent packages, and data files."""
        if module not in self._loads:
            named = {module, *self._find_references(module)}
            parents = {parent for name in named for parent in _list_parents(name)}
            self._loads[module] = (named & self.data.keys()) | (parents & self.files.keys())
        return self._loads[module]

    def _find_references(self, module: str) -> Iterator[str]:
        variables = self._find_variables(module)
        for node in _list_run_time_nodes(self.parse(module)):
            match node:
                case ast.Import(names=names):
                    yield from (self._resolve(module, alias.name) for alias in names)
                case ast.ImportFrom(names=names):
                    for alias in names:
                        yield from self._find_member(self._resolve_from(module, node), alias.name)
                case ast.Attribute(value=value, attr=attribute):
                    yield from self._find_member(self._evaluate(value, variables), attribute)
                case ast.Call(
                    func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")
                ):
                    yield from self._find_imported(module, node)
                case ast.Call():
                    for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                        named = _read_text(argument) or self._evaluate(argument, variables)
                        yield from [named, *self._data_of.get(named, [])]
                case ast.Name(id=variable) if variable in OWN_FOLDER:
                    yield from self._data_of.get(self._get_package(module), [])

    def _find_imported(self, module: str, call: ast.Call) -> Iterator[str]:
        """Yield what a call of `import_module` loads."""
        name = _read_text(call.args[0]) if call.args else ""
        if not name:
            yield from self.files
        elif name.startswith("."):
            yield _make_absolute(self._get_package(module), name)
        else:
            yield self._resolve(module, name)

    def _find_member(self, base: str, member: str) -> Iterator[str]:
        """Yield what `from base import member` loads."""
        yield base
        if f"{base}.{member}" in self.files:
            yield f"{base}.{member}"
        elif base in self.files and _is_lazy(self.parse(base)):
            table = self._read_lazy_table(base)
            if member in table:
                yield table[member]
            elif member == "*":
                yield from table.values()
            elif not member.startswith("__") and member not in _list_bound_names(self.parse(base)):
                yield from self.files

    def _read_lazy_table(self, package: str) -> dict[str, str]:
        """Return the names that a package's `__getattr__` loads → their modules, from its literal tables."""
        return {
            _read_text(key): _read_text(value)
            for table in ast.walk(self.parse(package))
            if isinstance(table, ast.Dict)
            for key, value in zip(table.keys, table.values, strict=True)
            if key and _read_text(key) and _read_text(value) in self.files
        }

    def _find_variables(self, module: str) -> dict[str, str]:
        """Return the names that a module's imports bind to modules of this project → these modules."""
        variables = {}
        for node in _list_run_time_nodes(self.parse(module)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    variables[alias.asname or top] = self._resolve(
                        module, alias.name if alias.asname else top
                    )
            elif isinstance(node, ast.ImportFrom):
                base = self._resolve_from(module, node)
                variables |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
        return {name: bound for name, bound in variables.items() if bound in self.files}

    def _evaluate(self, expression: ast.expr, variables: Mapping[str, str]) -> str:
        """Return the module of this project that an expression such as `s2rm.model` means, or ""."""
        match expression:
            case ast.Name(id=name):
                return variables.get(name, "")
            case ast.Attribute(value=value, attr=attribute):
                name = f"{self._evaluate(value, variables)}.{attribute}"
                return name if name in self.files else ""
        return ""

    def _resolve(self, importer: str, name: str) -> str:
        """Return the name here of what a module imports as `name`: a script's own folder comes first."""
        beside = f"pipeline.{name}"
        return beside if importer.startswith("pipeline.") and beside in self.files else name

    def _resolve_from(self, importer: str, node: ast.ImportFrom) -> str:
        """Return the module that `from … import` names."""
        if node.level:
            return _make_absolute(self._get_package(importer), "." * node.level + (node.module or ""))
        return self._resolve(importer, node.module or "")

    def _get_package(self, module: str) -> str:
        return module if self.files[module].name == "__init__.py" else module.rpartition(".")[0]


def _find_modules(folder: Path, prefix: str = "") -> dict[str, Path]:
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        modules[prefix + ".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _find_data(package: Path) -> list[Path]:
    """Return the files in a package's folder that are not Python, without those of packages inside it."""
    files: list[Path] = []
    for path in sorted(package.iterdir()):
        if path.name.startswith((".", "__pycache__")) or path.name.endswith("~"):
            continue
        if path.is_file() and path.suffix != ".py":
            files.append(path)
        elif path.is_dir() and not (path / "__init__.py").exists():
            files += _find_data(path)
    return files


def _list_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _make_absolute(package: str, name: str) -> str:
    """Return the absolute form of a relative module name, as seen from a package."""
    inner = name.lstrip(".")
    parts = package.split(".")
    kept = parts[: len(parts) - (len(name) - len(inner) - 1)]
    return ".".join([*kept, inner] if inner else kept)


def _read_text(expression: ast.expr) -> str:
    """Return a literal string, "" for any other expression."""
    text = expression.value if isinstance(expression, ast.Constant) else ""
    return text if isinstance(text, str) else ""


def _list_run_time_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module is imported and its functions are called."""
    # A module's `__getattr__` runs only for the names that others take from it: _find_member knows these.
    todo: list[ast.AST] = [node for node in tree.body if not _is_getattr(node)]
    while todo:
        node = todo.pop()
        yield node
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in (
            getattr(node.test, "id", ""),
            getattr(node.test, "attr", ""),
        )
        todo += node.orelse if is_for_types else ast.iter_child_nodes(node)


def _is_lazy(tree: ast.Module) -> bool:
    return any(map(_is_getattr, tree.body))


def _is_getattr(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__getattr__"


def _list_bound_names(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.alias(name=name, asname=other):
                names.add(other or name)
    return names
