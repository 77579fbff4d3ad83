"""The clocks of this host."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial


class SystemClock:
    """`relayq.ports.Clock` of the running host; ``monotonic`` is what the event loop's ``time()`` counts too."""

    # Asked several times per message: without frames of their own they cost a third.
    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)
