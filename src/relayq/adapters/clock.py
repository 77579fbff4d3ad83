"""The clocks of this host."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """`relayq.ports.Clock` of the running host; ``monotonic`` is what the event loop's ``time()`` counts too."""

    def now(self) -> datetime:
        """Aware UTC instant."""
        return datetime.now(UTC)

    # Asked several times per message: without a frame of its own it costs a third.
    monotonic = staticmethod(time.monotonic)
