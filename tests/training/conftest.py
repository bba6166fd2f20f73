"""Trainings in separate processes, for the tests that stop and break them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apart import RUN, SETTINGS, Apart, nothing

from s2rm.config.params import Params


@pytest.fixture(scope="session")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Any, tiny_params: Callable[..., Params]
) -> Apart:
    """A training that was never stopped."""
    training = Apart(
        tmp_path_factory.mktemp("whole"), tiny_data.prepared, tiny_data.raw, tiny_params(*SETTINGS), RUN
    )
    assert training.finish() == 0, training.output
    return training


@pytest.fixture
def start(tmp_path: Path, tiny_data: Any, tiny_params: Callable[..., Params]) -> Callable[..., Apart]:
    def build(*overrides: str, prepare: Callable[[], None] = nothing) -> Apart:
        params = tiny_params(*SETTINGS, *overrides)
        return Apart(tmp_path / "training", tiny_data.prepared, tiny_data.raw, params, RUN, prepare)

    return build
