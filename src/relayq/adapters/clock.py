"""The clocks of this host."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """`relayq.ports.Clock` of the running host; ``monotonic`` is what the event loop's ``time()`` counts too."""

    def now(self) -> datetime:
        """Aware UTC instant."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going back."""
        return time.monotonic()
