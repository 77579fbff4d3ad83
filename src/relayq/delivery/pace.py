"""How much may be done in one turn of the event loop: what is too much for one waits for the next ones.

A batch from the broker brings hundreds of messages in one turn of the loop. To read, route and compose one costs a
fraction of a millisecond, but all of them together would leave every session waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_SECONDS_PER_TURN = 0.004
_WEIGHT = 0.1  # of the latest cost in the average

SHARE_OCTETS = 1 << 20
MESSAGE_OCTETS = 8 << 10
"""What a message costs besides its octets, in octets: some 50 µs to begin it, where a MB of JSON takes 1.5 ms."""


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


class Share:
    """Messages that may be begun per turn of the loop, counted by their size: no clock is asked on the hot path."""

    def __init__(self, loop: asyncio.AbstractEventLoop, go_on: Callable[[], None], octets: int = SHARE_OCTETS) -> None:
        """Nothing is begun yet.

        Args:
            loop: Takes turns.
            go_on: Called in a later turn than the one in which `take` refused something.
            octets: For a turn.
        """
        self._loop = loop
        self._go_on = go_on
        self._limit = octets
        self._left = octets
        self._is_renewing = False

    def take(self, octets: int) -> bool:
        """Whether a message of so many octets may begin in this turn; a large one may have a whole turn."""
        if self._left <= 0:
            self.renew_soon()
            return False
        self._left -= octets + MESSAGE_OCTETS
        if self._left < self._limit // 2:  # seldom, where a turn brings one message or two
            self.renew_soon()
        return True

    def renew_soon(self) -> None:
        """Go on with the next turn."""
        if not self._is_renewing:
            self._is_renewing = True
            self._loop.call_soon(self._renew)

    def _renew(self) -> None:
        self._is_renewing = False
        self._left = self._limit
        self._go_on()
