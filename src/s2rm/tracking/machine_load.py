"""How busy the machine is while it trains, by MLflow's own monitors: processor, memory, NVIDIA GPUs."""

from contextlib import suppress
from time import monotonic
from typing import Any

FIRST, LONGEST = 10.0, 120.0  # seconds between two samples
GROWTH = 1.25  # of the pause from one sample to the next


class MachineMonitor:
    """Takes samples, ever more rarely; what cannot be measured is left out."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        self._monitors: list[Any] = [CPUMonitor()]
        with suppress(Exception):  # no NVIDIA GPU, or a driver that fails
            self._monitors.append(GPUMonitor())
        self._pause, self._next = FIRST, monotonic() + FIRST

    def sample(self) -> dict[str, float]:
        """Return what is measured now, by MLflow's names; {} where it is too early for another sample."""
        if monotonic() < self._next:
            return {}
        self._pause = min(GROWTH * self._pause, LONGEST)
        self._next = monotonic() + self._pause
        found: dict[str, float] = {}
        for monitor in self._monitors:
            with suppress(Exception):  # a GPU that was lost, for example
                monitor.clear_metrics()
                monitor.collect_metrics()
                values = monitor.aggregate_metrics()
                found |= {f"system/{name}": float(value) for name, value in values.items()}
        return found
