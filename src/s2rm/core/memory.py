"""How much memory this process can still use."""

from pathlib import Path

MEMORY, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def count_free_memory() -> int | None:
    """Return the bytes of memory that are free, swap included; None where the system does not tell.

    The limit of a container (control groups, version 2) counts.
    """
    try:
        lines = (line.split(":") for line in MEMORY.read_text(encoding="utf-8").splitlines())
        kilobytes = {name: int(value.split()[0]) for name, value in lines}
        free = 1024 * (kilobytes["MemAvailable"] + kilobytes.get("SwapFree", 0))
    except (OSError, ValueError, KeyError, IndexError):  # not Linux
        return None
    try:
        limit = int((CGROUP / "memory.max").read_text(encoding="utf-8"))
        used = int((CGROUP / "memory.current").read_text(encoding="utf-8"))
        lines = (line.split() for line in (CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines())
        cached = next(int(value) for name, value in lines if name == "inactive_file")
    except (OSError, ValueError, StopIteration):  # no limit ("max"), or no control group of its own
        return free
    return min(free, max(0, limit - used + cached))
