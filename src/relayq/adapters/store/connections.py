"""Connections to a database server: made when needed, used by one operation at a time, replaced when they are lost.

Nothing here knows a protocol. An operation is a function that takes a connection; one that finds its connection dead,
which is how a restarted server or an impatient firewall shows, is done again on a new one. So whatever it does has to
be harmless when done twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from relayq.ports import StoreError, StoreUnavailableError

IDLE_SECONDS = 240.0
"""A connection unused for longer is not trusted: firewalls forget connections, often after five minutes, silently."""

CLOSE_SECONDS = 2.0
TRIES = 3
MOST_SHOWN = 300


class Connection(Protocol):
    """What the pool asks of a connection."""

    @property
    def is_usable(self) -> bool:
        """Open, in no transaction, with no answer outstanding."""
        ...

    def terminate(self) -> None:
        """Cut it, at once; the server drops what was not committed."""
        ...

    async def close(self) -> None:
        """Say goodbye and close."""
        ...


class TryAgainError(StoreUnavailableError):
    """The connection was lost, or the server gave this operation up in favour of another one."""


def one_line(text: str) -> str:
    """What a server said, for the log: the first line, which names no key and gives no advice, and not too much."""
    return text.strip().partition("\n")[0].strip()[:MOST_SHOWN]


C = TypeVar("C", bound=Connection)
T = TypeVar("T")


class Connections(Generic[C]):
    """At most ``limit`` connections; operations wait for one in the order they came."""

    def __init__(self, connect: Callable[[], Awaitable[C]], limit: int) -> None:
        """Begin without a connection.

        Args:
            connect: Makes one; raises `StoreUnavailableError`.
            limit: Most connections, and operations at the same time.
        """
        self._connect = connect
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[tuple[C, float]] = []  # the one used last at the end

    async def run(self, operation: Callable[[C], Awaitable[T]]) -> T:
        """What an operation returns; it may be called several times, each time on another connection.

        Raises:
            StoreError: As the operation did, or there is no connection to be had.
        """
        async with self._slots:
            for _ in range(TRIES - 1):
                try:
                    return await self._run(operation)
                except TryAgainError:
                    continue
            return await self._run(operation)

    async def _run(self, operation: Callable[[C], Awaitable[T]]) -> T:
        connection = self._take_idle() or await self._connect()
        try:
            result = await operation(connection)
        except StoreError as error:
            if isinstance(error, TryAgainError) and not connection.is_usable:
                self._drop_idle()  # the others have met the same fate
            self._give_back(connection)
            raise
        except BaseException:
            connection.terminate()
            raise
        self._give_back(connection)
        return result

    def _take_idle(self) -> C | None:
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_usable and time.monotonic() - since < IDLE_SECONDS:
                return connection
            connection.terminate()
        return None

    def _give_back(self, connection: C) -> None:
        if connection.is_usable:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.terminate()

    def _drop_idle(self) -> None:
        for connection, _ in self._idle:
            connection.terminate()
        self._idle.clear()

    async def close(self) -> None:
        """Close all of them; no operation may be running."""
        while self._idle:
            connection, _ = self._idle.pop()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
            except (StoreError, OSError, TimeoutError):
                connection.terminate()
