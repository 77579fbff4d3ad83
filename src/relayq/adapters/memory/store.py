"""A message store in memory, which can be told to be slow, down or damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from relayq.ports import StoreDamagedError, StoreUnavailableError

SWEEP_BATCH = 1000


class MemoryStore:
    """Bodies by key.

    Attributes:
        bodies: What is stored.
        expiries: When entries may go; an entry put there by another program has none.
        operations: Verb and key of everything that was asked, oldest first; refused ones too.
        is_down: Every operation fails.
        is_closed: It was closed.
        before: Awaited before every operation, with its verb and key: lets a test hold it up.
    """

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.expiries: dict[str, datetime] = {}
        self.operations: list[tuple[str, str]] = []
        self.is_down = False
        self.is_closed = False
        self.before: Callable[[str, str], Awaitable[None]] | None = None
        self._damaged: set[str] = set()

    def damage(self, key: str) -> None:
        """Make the body of ``key`` impossible to restore."""
        self._damaged.add(key)

    async def load(self, key: str) -> bytes | None:
        """Return the body of ``key``."""
        await self._begin("load", key)
        if key in self._damaged:
            raise StoreDamagedError("damaged on purpose")
        return self.bodies.get(key)

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep a body."""
        await self._begin("save", key)
        self._damaged.discard(key)
        self.bodies[key] = body
        self.expiries[key] = expire_at

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Move an expiry to later."""
        await self._begin("refresh", key)
        if key in self.expiries:
            self.expiries[key] = max(self.expiries[key], expire_at)

    async def delete(self, key: str) -> None:
        """Remove an entry."""
        await self._begin("delete", key)
        self._remove(key)

    async def sweep(self, now: datetime) -> bool:
        """Remove what has expired."""
        await self._begin("sweep", "")
        expired = [key for key, expire_at in self.expiries.items() if expire_at < now]
        for key in expired[:SWEEP_BATCH]:
            self._remove(key)
        return len(expired) > SWEEP_BATCH

    async def probe(self) -> None:
        """See whether it is up."""
        await self._begin("probe", "")

    async def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True

    def _remove(self, key: str) -> None:
        self.bodies.pop(key, None)
        self.expiries.pop(key, None)
        self._damaged.discard(key)

    async def _begin(self, verb: str, key: str) -> None:
        self.operations.append((verb, key))
        await asyncio.sleep(0)
        if self.before is not None:
            await self.before(verb, key)
        if self.is_down:
            raise StoreUnavailableError("down on purpose")
