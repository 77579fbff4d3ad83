"""How many look-ups run at once, and in which order the others get their turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque


class GateFullError(Exception):
    """Too many are waiting already."""


class Gate:
    """First come, first served, with a bound on those waiting. ``async with gate`` holds one place.

    Attributes:
        capacity: Places; a change takes effect as places are given back.
        waiting: How many may wait for a place.
    """

    def __init__(self, capacity: int, waiting: int) -> None:
        self.capacity = capacity
        self.waiting = waiting
        self._taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        """Wait for a place.

        Raises:
            GateFullError: Too many wait already.
        """
        if self._taken < self.capacity and not self._queue:
            self._taken += 1
            return
        if len(self._queue) >= self.waiting:
            raise GateFullError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # The place may have been given in the same turn of the loop in which the waiter was cancelled.
            if turn.done() and not turn.cancelled():
                self._give_back()
            else:
                with contextlib.suppress(ValueError):
                    self._queue.remove(turn)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        self._taken -= 1
        while self._queue and self._taken < self.capacity:
            turn = self._queue.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
