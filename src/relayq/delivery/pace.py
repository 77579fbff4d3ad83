"""How much of the loop's time composing may take in one go.

A batch from the broker starts hundreds of messages in one turn of the loop. Composing costs a fraction of a millisecond
each, but all of them together would leave every session waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque

_SECONDS_PER_TURN = 0.004
_WEIGHT = 0.1  # of the latest cost in the average


class Pace:
    """Lets some work be done per turn of the loop, and the rest wait for the next ones, first come first served."""

    def __init__(self, seconds_per_turn: float = _SECONDS_PER_TURN) -> None:
        self._limit = seconds_per_turn
        self._spent = 0.0
        self._average = seconds_per_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_renewing = False

    async def turn(self) -> None:
        """Wait until there is time; `spend` has to follow before anything else is waited for."""
        if self._spent < self._limit and not self._waiting:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._renew_soon()
        await waiter

    def spend(self, seconds: float) -> None:
        """So much was used."""
        self._spent += seconds
        self._average += (seconds - self._average) * _WEIGHT
        self._renew_soon()

    def _renew_soon(self) -> None:
        if not self._is_renewing:
            self._is_renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """A new turn: wake as many as are likely to fit into it."""
        self._is_renewing = False
        self._spent = 0.0
        fitting = max(1, int(self._limit / max(self._average, 1e-6)))
        while self._waiting and fitting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                fitting -= 1
        if self._waiting:
            self._renew_soon()
