"""The memory that is free, as the system and a container's limit tell."""

from pathlib import Path

import pytest

from s2rm.core import memory

MEMORY = "MemTotal:       8000 kB\nMemAvailable:    2000 kB\nSwapFree:        500 kB\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "meminfo").write_text(MEMORY)
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return tmp_path


def test_available_memory_and_swap(system: Path) -> None:
    assert memory.count_free_memory() == 2500 * 1024


@pytest.mark.parametrize(
    ("limit", "free"), [("max", 2500 * 1024), ("1000000", 700000), ("100000", 0), ("9000000000", 2500 * 1024)]
)
def test_the_limit_of_a_container_counts(system: Path, limit: str, free: int) -> None:
    (system / "memory.max").write_text(limit + "\n")
    (system / "memory.current").write_text("500000\n")
    (system / "memory.stat").write_text("anon 300000\ninactive_file 200000\nactive_file 0\n")
    assert memory.count_free_memory() == free


@pytest.mark.parametrize("text", [None, "", "MemAvailable\n", "MemTotal: 5 kB\n", "MemAvailable: many kB\n"])
def test_a_system_that_does_not_tell(system: Path, text: str | None) -> None:
    (system / "meminfo").unlink()
    if text is not None:
        (system / "meminfo").write_text(text)
    assert memory.count_free_memory() is None
