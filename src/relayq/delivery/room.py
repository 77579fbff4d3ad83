"""Room for octets that are not here yet: who wants some waits until others have given back theirs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """A number of octets that several may share, first come, first served."""

    def __init__(self, octets: int) -> None:
        self._octets = octets
        self._free = octets
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, octets: int) -> AsyncIterator[None]:
        """Have room inside the block; never more than there is at all, so that everybody's turn comes."""
        octets = min(octets, self._octets)
        await self._wait(octets)
        try:
            yield
        finally:
            self._free += octets
            self._wake()

    async def _wait(self, octets: int) -> None:
        if not self._waiting and octets <= self._free:
            self._free -= octets
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((octets, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._free += octets  # it was given just before
            elif (octets, turn) in self._waiting:
                self._waiting.remove((octets, turn))
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            octets, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= octets
                turn.set_result(None)
