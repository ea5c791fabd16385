"""Readings of the machine for a run, taken by the shipper."""

import time
from typing import Any

SLOWEST_PULSE = 10.0  # seconds between readings


class SystemMetrics:
    """CPU, memory, disk, network and GPU of the machine, often at first, so that short stages have them too."""

    def __init__(self, run: Any):
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.run, self.monitors, self.step, self.pause = run, SystemMetricsMonitor(run.run_id).monitors, 0, 1.0
        self._read()  # rates are since the reading before
        self.due = time.monotonic() + self.pause

    def sample(self) -> None:
        """Read and report, if it is time."""
        if time.monotonic() < self.due:
            return
        self.pause = min(2 * self.pause, SLOWEST_PULSE)
        self.due = time.monotonic() + self.pause
        self.run.system_metrics(self._read(), self.step)
        self.step += 1

    def _read(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for monitor in self.monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return values
