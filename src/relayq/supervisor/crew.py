"""Those who do the work, in this process or in others: what the supervisor needs of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from relayq.adapters.application_log import ApplicationLog
from relayq.adapters.figures import Figures, State
from relayq.app import WorkerRun
from relayq.config import Settings


class Crew(Protocol):
    """All workers."""

    @property
    def restarts(self) -> int:
        """Workers that died and were started again."""
        ...

    async def run(self) -> int:
        """Start, and deliver until told to stop; returns the exit code. What went wrong is in the log."""
        ...

    def stop(self) -> None:
        """Drain and end."""
        ...

    def abort(self) -> None:
        """End at once what runs in other processes."""
        ...

    def reconfigure(self, settings: Settings) -> None:
        """Other settings from now on."""
        ...

    def states(self) -> list[State]:
        """What each worker is doing."""
        ...

    def processes(self) -> dict[str, int]:
        """Process ids by name."""
        ...

    def figures(self) -> Figures:
        """What all workers of this instance have counted, those that are gone included."""
        ...

    def summaries(self) -> list[str]:
        """A line about each worker."""
        ...


class Inline:
    """One worker, in the process of the supervisor (``Crew``)."""

    def __init__(self, settings: Settings, log: ApplicationLog, on_change: Callable[[], None]) -> None:
        self._run = WorkerRun(settings, log, on_change)

    @property
    def restarts(self) -> int:
        """See ``Crew``: it dies with this process."""
        return 0

    async def run(self) -> int:
        """See ``Crew``."""
        return await self._run.run()

    def stop(self) -> None:
        """See ``Crew``."""
        self._run.stop()

    def abort(self) -> None:
        """See ``Crew``: there are no other processes."""

    def reconfigure(self, settings: Settings) -> None:
        """See ``Crew``."""
        self._run.reconfigure(settings)

    def states(self) -> list[State]:
        """See ``Crew``."""
        return [self._run.state]

    def processes(self) -> dict[str, int]:
        """See ``Crew``."""
        return {"relayq": os.getpid()}

    def figures(self) -> Figures:
        """See ``Crew``."""
        return self._run.figures()

    def summaries(self) -> list[str]:
        """See ``Crew``."""
        return [f"{self._run.state}: {self._run.summary()}"]
