"""Check what the project stands in: git, DVC, Python, and the folders that are written to."""

import locale
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from s2rm.checks.findings import Finding, attempt
from s2rm.core.errors import UserError
from s2rm.core.files import read_yaml
from s2rm.core.project import (
    DIGESTS,
    MODELS,
    PIPELINE_FILE,
    PREPARED,
    RAW,
    REPORTS,
    RESULTS,
    SCRATCH,
    WEIGHTS,
    explain_unwritable,
)

LOCK = "dvc.lock"
OUTPUTS = (RAW, WEIGHTS, PREPARED, MODELS, RESULTS, REPORTS, DIGESTS, SCRATCH, Path(".dvc"))


def check_surroundings(root: Path) -> Iterator[Finding]:
    """Yield what is found about the project's folder and the tools that it needs.

    Args:
        root: folder of the project.
    """
    yield attempt("git", lambda: _find_repository(root))
    yield _check_identity(root)
    yield attempt("DVC", lambda: _find_dvc(root))
    yield _check_python()
    yield _check_encoding()
    yield attempt("temporary files", _find_temporary)
    yield attempt("outputs", lambda: _check_outputs(root))


def _find_repository(root: Path) -> str:
    if not shutil.which("git"):
        raise UserError("git is not installed: DVC needs it")
    done = _git(root, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return done.stdout.strip()
    if "dubious ownership" in done.stderr:
        raise UserError(
            f"{root} belongs to another user, which git refuses: run `git config --global --add "
            f"safe.directory {root}`"
        )
    raise UserError(
        f"{root} is not a git repository (a downloaded zip is none), which DVC needs: run `git init` there"
    )


def _check_identity(root: Path) -> Finding:
    """Check the name that git gives to commits: DVC's experiments are commits."""
    if not shutil.which("git"):
        return Finding("git identity", "not checked", "git is not installed")
    given = {
        key: os.environ.get(f"GIT_COMMITTER_{key.upper()}")
        or _git(root, "config", f"user.{key}").stdout.strip()
        for key in ("name", "email")
    }
    missing = [f'git config user.{key} "your {key}"' for key, value in given.items() if not value]
    if missing:
        return Finding("git identity", "warning", f"not set, `dvc exp run` will fail: {' && '.join(missing)}")
    return Finding("git identity", "ok", "{name} <{email}>".format(**given))


def _git(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)


def _find_dvc(root: Path) -> str:
    try:
        found = version("dvc")
    except PackageNotFoundError:
        raise UserError("DVC is not installed in this environment: run `make setup`") from None
    if not (root / ".dvc" / "config").is_file():
        raise UserError(f"{root / '.dvc' / 'config'} is missing: restore it with `git checkout .dvc`")
    for name, what in ((PIPELINE_FILE, "the pipeline"), (LOCK, "the record of finished stages")):
        if (root / name).exists():
            try:
                read_yaml(root / name, what)
            except UserError as error:
                raise UserError(f"{error}; restore it with `git checkout {name}`") from None
    return found


def _check_python() -> Finding:
    """Check that the stages, which DVC starts as `python …`, run in this environment."""
    found = f"{platform.python_version()} at {sys.executable}"
    other = shutil.which("python")
    if other and Path(other).parent.resolve() == Path(sys.executable).parent.resolve():
        return Finding("python", "ok", found)
    return Finding(
        "python",
        "error",
        f"{found}, but stages would run with {other or 'none: no python is on PATH'}; activate the "
        f"environment: source {Path(sys.executable).parent / 'activate'}",
    )


def _check_encoding() -> Finding:
    found = locale.getencoding() if not sys.flags.utf8_mode else "utf-8"
    if found.lower().replace("-", "") == "utf8":
        return Finding("text encoding", "ok", found)
    return Finding("text encoding", "warning", f"{found}: texts may be garbled; set PYTHONUTF8=1")


def _find_temporary() -> str:
    given = os.environ.get("TMPDIR")
    if given and not os.access(given, os.W_OK | os.X_OK):
        raise UserError(f"TMPDIR is {given}, which is not a folder that can be written to: set another one")
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise UserError("no folder for temporary files can be written to: set TMPDIR to one") from None


def _check_outputs(root: Path) -> str:
    reasons = [] if os.access(root, os.W_OK) else [f"this user may not write to {root}"]
    reasons += filter(None, (explain_unwritable(root / output) for output in OUTPUTS))
    if reasons:
        raise UserError("; ".join(dict.fromkeys(reasons)))
    return "can be written"
