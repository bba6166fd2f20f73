"""Refuse names that a file, a stage of DVC or an entry in MLflow cannot have."""

import re
from collections.abc import Collection, Sequence

LONGEST_EXPERIMENT = 500  # characters that MLflow accepts


def check_run_names(names: Collection[str]) -> None:
    """Refuse names of runs that cannot be names of files, also where files do not differ in case.

    Raises:
        ValueError: names the first one.
    """
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
            raise ValueError(
                f"runs has {name!r}, which is not a valid run name: use up to 64 letters (a–z), digits, "
                "'_' and '-', the first a letter or a digit"
            )
    if len({name.lower() for name in names}) < len(names):
        raise ValueError(
            f"runs has names that differ in case only, of which files do not: {', '.join(names)}"
        )


def check_experiment_name(name: str) -> None:
    """Refuse a name that an experiment in MLflow cannot have.

    Raises:
        ValueError: it cannot.
    """
    if name != name.strip() or not name or not name.isprintable() or len(name) > LONGEST_EXPERIMENT:
        raise ValueError(
            f"tracking.experiment is {name!r}: it must be 1 to {LONGEST_EXPERIMENT} printable characters, "
            "without spaces around them"
        )


def refuse_repeated(key: str, names: Sequence[str]) -> None:
    """Refuse a list with a name that stands in it twice.

    Args:
        key: the parameter that holds the list, for the message.
        names: the list.

    Raises:
        ValueError: names it.
    """
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise ValueError(f"{key} has {repeated} twice")
