"""What the tests of the embedded broker share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions, Timings
from relayq.adapters.memory import RecordingListener
from relayq.ports import OutboxItem, Properties, Publication, QueueRole

PATIENCE = 90.0
"""Seconds; nothing takes that long unless it is broken."""
FAST = Timings(poll_interval=0.02, sweep_interval=0.05, lock_patience=0.2, retry_interval=0.02, close_timeout=0.3)


def publication(
    body: bytes,
    queue: str = "outbox",
    *,
    delay: float | None = None,
    due_at: datetime | None = None,
    priority: int | None = None,
) -> Publication:
    if delay is not None:
        due_at = SystemClock().now() + timedelta(seconds=delay)
    properties = Properties(priority=priority)
    return Publication(queue=queue, body=body, properties=properties, role=QueueRole.OUTBOX, due_at=due_at)


class Inbox:
    """Collects items and lets a test wait for a number of them."""

    def __init__(self) -> None:
        self.items: list[OutboxItem] = []
        self._changed = asyncio.Event()

    def __call__(self, item: OutboxItem) -> None:
        self.items.append(item)
        self._changed.set()

    @property
    def bodies(self) -> list[bytes]:
        return [item.body for item in self.items]

    async def wait_for(self, count: int, patience: float = PATIENCE) -> None:
        async with asyncio.timeout(patience):
            while len(self.items) < count:
                self._changed.clear()
                await self._changed.wait()


class Log:
    """Keeps what was logged, as (level, text)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    def texts(self, level: str) -> list[str]:
        return [text for line_level, text in self.lines if line_level == level]


class FlowListener(RecordingListener):
    """A listener a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: asyncio.Queue[bool] = asyncio.Queue()

    def flow_changed(self, *, blocked: bool) -> None:
        super().flow_changed(blocked=blocked)
        self.changes.put_nowait(blocked)

    async def next(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            return await self.changes.get()


def make_broker(
    file: Path,
    listener: RecordingListener | None = None,
    log: Callable[[str, str], None] | None = None,
    **options: object,
) -> EmbeddedBroker:
    settings = EmbeddedOptions(**{"path": str(file), "timings": FAST, **options})  # type: ignore[arg-type]
    return EmbeddedBroker(settings, listener or RecordingListener(), SystemClock(), log or Log())


@asynccontextmanager
async def opened(
    file: Path,
    listener: RecordingListener | None = None,
    log: Callable[[str, str], None] | None = None,
    **options: object,
) -> AsyncIterator[EmbeddedBroker]:
    broker = make_broker(file, listener, log, **options)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()
