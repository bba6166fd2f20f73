from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_server import FaultyServer


@pytest.fixture
def faulty_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Serves `tmp_path/served`; whatever proxy the machine uses is out of the way."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    folder = tmp_path / "served"
    folder.mkdir()
    with FaultyServer(folder) as server:
        yield server
