"""The figures of the instance that no worker knows: its processes, their cost, and what they are doing."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from relayq import __version__
from relayq.adapters.figures import Figures, State, add_up, render, series
from relayq.supervisor.crew import Crew

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """Collects when asked; the workers' part is what they pushed last."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._started_at = time.time()

    def text(self) -> str:
        """For Prometheus."""
        return render(add_up((self._own(), self._crew.figures())))

    def _own(self) -> Figures:
        figures: Figures = {
            series("relayq_info", version=__version__): 1,
            "relayq_start_time_seconds": self._started_at,
            "relayq_worker_restarts_total": self._crew.restarts,
        }
        states = Counter(self._crew.states())
        figures |= {series("relayq_workers", state=state): states[state] for state in State}
        for name, pid in self._crew.processes().items():
            figures |= _cost_of(name, pid)
        return figures


def _cost_of(name: str, pid: int) -> Figures:
    """CPU, memory and files of a process; nothing if it has just ended."""
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        pages = int((folder / "statm").read_text().split()[1])
        files = len(os.listdir(folder / "fd"))
    except OSError:
        return {}
    return {
        series("relayq_process_cpu_seconds_total", process=name): (int(fields[11]) + int(fields[12])) / _TICKS,
        series("relayq_process_resident_bytes", process=name): pages * _PAGE,
        series("relayq_process_open_fds", process=name): files,
    }
