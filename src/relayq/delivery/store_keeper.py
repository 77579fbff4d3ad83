"""Looks after a message store: sees whether it can be used, then removes expired entries now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from relayq.ports import Clock, MessageStore, Observer, StoreError

SWEEP_SECONDS = 600.0

T = TypeVar("T")


class StoreKeeper:
    """One task beside the work of a store."""

    def __init__(self, store: MessageStore, timeout: float, clock: Clock, observer: Observer, component: str) -> None:
        """Nothing runs yet.

        Args:
            store: What is looked after.
            timeout: Seconds one operation may take.
            clock: Tells what has expired.
            observer: Told about trouble.
            component: Where that comes from, for the log.
        """
        self._store = store
        self._timeout = timeout
        self._clock = clock
        self._observer = observer
        self._component = component
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; does not wait for anything."""
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _keep(self) -> None:
        """A worker must start while its store is down, so trouble is a warning (spec storage.md 2)."""
        await self._try(self._store.probe, "cannot be used now")
        while True:
            while await self._try(lambda: self._store.sweep(self._clock.now()), "removing expired entries failed"):
                pass
            await asyncio.sleep(SWEEP_SECONDS)

    async def _try(self, operation: Callable[[], Awaitable[T]], complaint: str) -> T | None:
        try:
            async with asyncio.timeout(self._timeout):
                return await operation()
        except (TimeoutError, StoreError) as error:
            self._observer.warn(self._component, f"{complaint}: {str(error) or 'no answer in time'}")
        except Exception as error:  # the top of a task
            self._observer.crash(self._component, error)
        return None
