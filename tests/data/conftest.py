from pathlib import Path

import pytest
from tiny_refer import TinyRefer


@pytest.fixture
def tiny_refer(tmp_path: Path) -> TinyRefer:
    return TinyRefer(tmp_path / "raw")
