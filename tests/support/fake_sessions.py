"""Sessions without a connection and a loop without real time, for tests of who gets which session when."""

from __future__ import annotations

import asyncio
from typing import Any


class FakeSession:
    """What `relayq.delivery.lane` and `relayq.delivery.session_pool` see of a `relayq.delivery.session.Session`."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.messages = 0
        self.is_closed = False
        self.is_working = False
        self.is_leased = False
        self.is_exclusive = False
        self.is_resetting = False
        self.is_quitting = False
        self.rests = 0

    @property
    def is_ready(self) -> bool:
        return not (self.is_closed or self.is_quitting or self.is_resetting)

    def rest(self, seconds: float) -> None:
        self.rests += 1

    def quit(self) -> None:
        self.is_quitting = True

    def abort(self) -> None:
        self.is_quitting = True

    def answer_reset(self) -> None:
        """The peer answered RSET: it may take a message again."""
        self.is_resetting = False
        self.owner.session_ready(self)

    def close(self) -> None:
        """The connection is gone."""
        if not self.is_closed:
            self.is_closed = True
            self.is_resetting = False
            self.owner.session_closed(self)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_time = 1000.0

    def time(self) -> float:
        return self._virtual_time

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire at the next `settle`."""
        self._virtual_time += seconds

    def settle(self, turns: int = 12) -> None:
        """Run whatever can run now."""
        for _ in range(turns):
            self.run_until_complete(asyncio.sleep(0))
