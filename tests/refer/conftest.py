"""Fixtures of this folder."""

from pathlib import Path

import pytest
from tiny_queries import TinyQueries


@pytest.fixture
def tiny(tmp_path: Path) -> TinyQueries:
    return TinyQueries(tmp_path / "referit")
