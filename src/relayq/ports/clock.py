"""Time as the engine sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for the world (results, deadlines), one for durations."""

    def now(self) -> datetime:
        """Aware UTC instant. May jump when the host's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; the zero point means nothing. The clock of the event loop."""
        ...
