"""A broker object over the fake server, with waits of milliseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from relayq.adapters.rabbitmq import RabbitMqBroker, RabbitMqOptions, Timings
from relayq.adapters.rabbitmq.consumer import RabbitMqItem
from relayq.ports import OutboxItem, Properties, Publication, QueueRole
from tests.unit.adapters.rabbitmq.fake_broker import PATIENCE, FakeBroker, FakeSession, running_broker

QUICK = Timings(
    reconnect_waits=(0.01, 0.02),
    republish_waits=(0.01, 0.02),
    close_timeout=2,
    confirm_timeout=60,
)


class Recorder:
    """Listener and log in one."""

    def __init__(self) -> None:
        self.flow: asyncio.Queue[bool] = asyncio.Queue()
        self.losses: asyncio.Queue[None] = asyncio.Queue()
        self.unroutables: asyncio.Queue[Publication] = asyncio.Queue()
        self.lines: list[tuple[str, str]] = []
        self.replacements: list[Publication | None] = []

    def flow_changed(self, *, blocked: bool) -> None:
        self.flow.put_nowait(blocked)

    def items_lost(self) -> None:
        self.losses.put_nowait(None)

    def replace_copy(self, publication: Publication) -> Publication | None:
        return self.replacements.pop(0) if self.replacements else publication

    def unroutable(self, publication: Publication) -> None:
        self.unroutables.put_nowait(publication)

    def log(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    def text(self, level: str = "") -> str:
        return "\n".join(line for kind, line in self.lines if kind.startswith(level))


class MovableClock:
    """The real monotonic clock; a wall clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
        self.ahead = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class Rig:
    """The fake server and a broker object that is not opened yet."""

    def __init__(self, server: FakeBroker) -> None:
        self.server = server
        self.recorder = Recorder()
        self.clock = MovableClock()
        self.brokers: list[RabbitMqBroker] = []

    def make(self, **options: Any) -> RabbitMqBroker:
        defaults: dict[str, Any] = {
            "endpoints": (self.server.endpoint(),),
            "outbox": "outbox",
            "delay_intervals": (),
            "timings": QUICK,
        }
        broker = RabbitMqBroker(RabbitMqOptions(**(defaults | options)), self.recorder, self.clock, self.recorder.log)
        self.brokers.append(broker)
        return broker

    async def open(self, **options: Any) -> tuple[RabbitMqBroker, FakeSession]:
        """An open broker and its publisher session."""
        broker = self.make(**options)
        async with asyncio.timeout(PATIENCE):
            await broker.open()
        return broker, await self.server.session()

    async def consume(
        self, broker: RabbitMqBroker, queue: str = "outbox", prefetch: int = 10
    ) -> tuple[Items, FakeSession]:
        """Consume ``queue``; its items and the session of the consumer."""
        items = Items()
        async with asyncio.timeout(PATIENCE):
            items.consumption = await broker.consume(queue, prefetch, items)
        return items, await self.server.session()


class Items:
    """Items in the order they were handed out."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[RabbitMqItem] = asyncio.Queue()
        self.consumption: Any = None

    def __call__(self, item: OutboxItem) -> None:
        assert isinstance(item, RabbitMqItem)
        self.queue.put_nowait(item)

    async def next(self) -> RabbitMqItem:
        async with asyncio.timeout(PATIENCE):
            return await self.queue.get()

    async def take(self, count: int) -> list[RabbitMqItem]:
        return [await self.next() for _ in range(count)]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running_broker() as server:
        rig = Rig(server)
        yield rig
        for broker in rig.brokers:
            await broker.close()


def result(body: bytes = b"{}", queue: str = "results", **properties: Any) -> Publication:
    return Publication(queue=queue, body=body, properties=Properties(**properties), role=QueueRole.RESULT)


def to_outbox(body: bytes = b"{}", due_at: datetime | None = None, **properties: Any) -> Publication:
    return Publication(
        queue="outbox", body=body, properties=Properties(**properties), role=QueueRole.OUTBOX, due_at=due_at
    )


async def soon(awaitable: Any) -> Any:
    """The result of something that must come soon."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that only polling can see."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody could set an event
            await asyncio.sleep(0.005)
