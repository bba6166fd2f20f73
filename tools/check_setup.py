"""Check what `make setup` needs of the machine, so that one line says what is missing.

    python3 tools/check_setup.py machine    before: an error, exit code 2
    python3 tools/check_setup.py git        after: notes of what DVC's commands need

It runs on any Python 3.6, also one that is too old for the project, and needs no package.
"""

import os
import platform
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 14)  # what requirements.lock has packages for
SYSTEMS = ("Linux x86_64", "Linux aarch64", "Darwin arm64")  # of torch's builds, like the version of glibc
GLIBC = (2, 28)


def find_error(version=None, system="", libc=None):
    """Return why the packages cannot be installed, and what helps; "" if they can.

    Args:
        version: of Python; by default of this one, like the others.
        system: system and machine, as `platform` names them.
        libc: name and version of the C library.
    """
    version = version or sys.version_info[:2]
    shown = ".".join(map(str, version))
    if version < OLDEST:
        return f"s2rm needs Python 3.11 or newer, this is {shown}: make PYTHON=python3.12 setup"
    if version > NEWEST:
        return f"requirements.lock has no packages for Python {shown}: make PYTHON=python3.12 setup"
    system = system or f"{platform.system()} {platform.machine()}"
    if system not in SYSTEMS:
        return f"torch has no builds for {system}, only for {', '.join(SYSTEMS)}"
    name, number = libc or platform.libc_ver()
    if system.startswith("Linux"):
        if name != "glibc":
            return "torch has no builds for a system without glibc: use another, or docs/docker.md"
        if tuple(map(int, number.split(".")[:2])) < GLIBC:
            return f"torch needs glibc 2.28 or newer, this is {number}: use a newer system, or docs/docker.md"
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return f"this Python makes no environments: on Debian and Ubuntu, apt install python{shown}-venv"
    return ""


def find_notes(folder="."):
    """Return what git lacks for DVC's commands, and the commands that add it."""
    try:
        top = _ask_git(folder, "rev-parse", "--show-toplevel")
    except OSError:
        return ["git is missing, and DVC needs it: on Debian and Ubuntu, apt install git"]
    notes = []
    if not top or os.path.realpath(top) != os.path.realpath(folder):
        notes.append(
            "this folder is not a git repository (a zip download?), and DVC needs one: "
            "git init && git add -A && git commit -m download"
        )
    if not all(_ask_git(folder, "var", f"GIT_{who}_IDENT") for who in ("AUTHOR", "COMMITTER")):
        notes.append(
            "git has no identity, which `git commit` and `dvc exp run` need: "
            "git config --global user.name NAME && git config --global user.email ADDRESS"
        )
    return notes


def _ask_git(folder, *arguments):
    """Return git's answer, "" where it has none; an identity that it has to guess is none."""
    command = ["git", "-C", folder, "-c", "user.useConfigOnly=true", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode(errors="replace").strip()


def main():
    """Print what was found; return the exit code."""
    if sys.argv[1:] == ["machine"]:
        error = find_error()
        if error:
            print(f"error: {error}", file=sys.stderr)
        return 2 if error else 0
    for note in find_notes():
        print(f"note: {note}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
