"""Check what `make setup` needs of the machine, so that one line says what is missing.

    python3 tools/check_setup.py machine    before: errors, exit code 2
    python3 tools/check_setup.py git        after: notes about git, which DVC needs

It must run on any Python, also one that is too old for the project, and needs no package.
"""

import os
import platform
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 14)  # what requirements.lock has packages for
GLIBC = (2, 28)  # of torch's wheels
SYSTEMS = (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"))  # of torch's wheels


def find_error(version=sys.version_info[:2], system=None, libc=None):
    # type: (tuple, tuple | None, tuple | None) -> str | None
    """Return why the packages cannot be installed, and what helps; None if they can.

    Args:
        version: of this Python.
        system: its system and machine, as `platform` names them.
        libc: name and version of the C library.
    """
    shown = ".".join(map(str, version))
    if version < OLDEST:
        return "s2rm needs Python 3.11 or newer, this is %s: make PYTHON=python3.12 setup" % shown
    if version > NEWEST:
        return "requirements.lock has no packages for Python %s: make PYTHON=python3.12 setup" % shown
    system = system or (platform.system(), platform.machine())
    if system not in SYSTEMS:
        known = ", ".join(" ".join(each) for each in SYSTEMS)
        return "torch has no builds for %s %s, only for %s" % (*system, known)
    name, number = libc or platform.libc_ver()
    if system[0] == "Linux" and name != "glibc":
        return "torch has no builds for this C library (%s): use a system with glibc" % (name or "not glibc")
    if system[0] == "Linux" and tuple(map(int, number.split(".")[:2])) < GLIBC:
        return "torch needs glibc 2.28 or newer, this is %s: use a newer system, or docs/docker.md" % number
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return (
            "this Python cannot create environments: on Debian and Ubuntu, apt install python%s-venv" % shown
        )
    return None


def find_notes(folder="."):
    # type: (str) -> list[str]
    """Return what git lacks for DVC's commands, and the commands that add it."""
    try:
        inside = _git(folder, "rev-parse", "--show-toplevel")
    except OSError:
        return ["git is missing, and DVC needs it: on Debian and Ubuntu, apt install git"]
    notes = []
    if os.path.realpath(inside or os.devnull) != os.path.realpath(folder):
        notes.append(
            "this folder is no git repository (a zip download?), and DVC needs one: "
            "git init && git add -A && git commit -m download"
        )
    if not all(_has_identity(folder, part) for part in ("NAME", "EMAIL")):
        notes.append(
            "git has no identity, which `git commit` and `dvc exp run` need: "
            "git config --global user.name NAME && git config --global user.email ADDRESS"
        )
    return notes


def _has_identity(folder, part):
    # type: (str, str) -> bool
    given = all(os.environ.get("GIT_%s_%s" % (who, part)) for who in ("AUTHOR", "COMMITTER"))
    return given or bool(_git(folder, "config", "user." + part.lower()))


def _git(folder, *arguments):
    # type: (str, *str) -> str
    done = subprocess.run(
        ["git", "-C", folder, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return done.stdout.decode(errors="replace").strip()


def main():
    # type: () -> int
    """Print what was found; return the exit code."""
    if sys.argv[1:] == ["machine"]:
        error = find_error()
        if error:
            sys.stderr.write("error: %s\n" % error)
        return 2 if error else 0
    for note in find_notes():
        sys.stderr.write("note: %s\n" % note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
