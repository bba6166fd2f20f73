"""What git says of the project."""

import subprocess

from paths import ROOT


def ask_git(*arguments: str) -> str | None:
    """Return what a git command prints; None where it fails, as outside of a repository or without git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return None
    return None if done.returncode else done.stdout.strip()


def has_changes() -> bool | None:
    """Return whether code or parameters have changes that are not committed; None where git cannot say."""
    changed = ask_git("status", "--porcelain", "--untracked-files=no", "--", "src", "pipeline", "params.yaml")
    return None if changed is None else bool(changed)


def describe_commit() -> str | None:
    """Return the commit for people, and whether there are changes; None without git."""
    commit = ask_git("log", "-1", "--format=%h of %cs")
    return commit and commit + (", with changes that are not committed" if has_changes() else "")
