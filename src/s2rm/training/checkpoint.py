"""The state of a training that was stopped, so that the same command continues it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass
class Progress:
    """How far a training is; `history` holds one record a validation."""

    epoch: int = 0  # epochs done
    step: int = 0  # optimiser steps done
    best: float = -1.0  # the best value of train.select_by
    history: list[dict[str, Any]] = field(default_factory=list)


def save_state(path: Path, progress: Progress, **states: Any) -> None:
    """Writes the progress, the random state and the state_dicts, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    state = {name: value.state_dict() for name, value in states.items()}
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    torch.save({"progress": vars(progress), "random": random, **state}, part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def load_state(path: Path, **states: Any) -> Progress:
    """Puts what `save_state` wrote back into the given objects; a fresh Progress where there is none."""
    if not path.exists():
        return Progress()
    saved = torch.load(path, map_location="cpu", weights_only=True)
    for name, value in states.items():
        value.load_state_dict(saved[name])
    torch.set_rng_state(saved["random"]["cpu"])
    if torch.cuda.is_available() and "cuda" in saved["random"]:
        torch.cuda.set_rng_state(saved["random"]["cuda"])
    return Progress(**saved["progress"])
