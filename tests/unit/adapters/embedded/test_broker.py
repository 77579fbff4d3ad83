from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions, QueueDepth, Timings
from relayq.adapters.memory import RecordingListener
from relayq.ports import Broker, OutboxItem, Properties, Publication, QueueRole

FAST = Timings(poll_interval=0.02, sweep_interval=0.05, lock_patience=0.2, retry_interval=0.02, close_timeout=1.0)


def publication(
    body: bytes, queue: str = "outbox", *, delay: float | None = None, priority: int | None = None
) -> Publication:
    due_at = None if delay is None else SystemClock().now() + timedelta(seconds=delay)
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

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.items) < count:
                self._changed.clear()
                await self._changed.wait()


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, level: str, text: str) -> None:
        self.lines.append((level, text))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relayq.db"


@asynccontextmanager
async def opened(file: Path, *, gzip: bool = False) -> AsyncIterator[EmbeddedBroker]:
    settings = EmbeddedOptions(path=str(file), timings=FAST, gzip=gzip)
    broker = EmbeddedBroker(settings, RecordingListener(), SystemClock(), Log())
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


async def test_message_goes_through_and_its_results_replace_it(file: Path) -> None:
    async with opened(file) as broker:
        port: Broker = broker
        inbox = Inbox()
        await port.publish([publication(b"mail")])
        await port.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        item = inbox.items[0]
        assert (item.body, item.redelivered, item.is_held) == (b"mail", False, True)
        assert (await broker.queue_depths()) == {"outbox": QueueDepth(0, 0, 1)}
        await port.settle(item, [publication(b"result", "results"), publication(b"copy", "success")])
        assert not item.is_held
        assert (await broker.queue_depths()) == {"results": QueueDepth(1, 0, 0), "success": QueueDepth(1, 0, 0)}


async def test_order_is_priority_then_age_within_the_prefetch(file: Path) -> None:
    async with opened(file) as broker:
        inbox = Inbox()
        await broker.publish([publication(b"1"), publication(b"2", priority=200), publication(b"3", priority=7)])
        await broker.publish([publication(b"4", priority=300), publication(b"5")])
        await broker.consume("outbox", 3, inbox)
        await inbox.wait_for(3)
        assert inbox.bodies == [b"4", b"2", b"3"]
        await broker.settle(inbox.items[0], [])
        await broker.settle(inbox.items[1], [])
        await inbox.wait_for(5)
        assert inbox.bodies == [b"4", b"2", b"3", b"1", b"5"]


async def test_delayed_message_is_not_early_and_hardly_late(file: Path) -> None:
    clock = SystemClock()
    async with opened(file) as broker:
        inbox = Inbox()
        due_at = clock.now() + timedelta(seconds=0.3)
        late = Publication(queue="outbox", body=b"l", properties=Properties(), role=QueueRole.OUTBOX, due_at=due_at)
        await broker.publish([late, publication(b"never", delay=3600)])
        assert (await broker.queue_depths()) == {"outbox": QueueDepth(0, 2, 0)}
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        lateness = (clock.now() - due_at).total_seconds()
        assert 0 <= lateness < 0.15
        assert inbox.bodies == [b"l"]


async def test_requeued_message_keeps_its_place_and_is_flagged(file: Path) -> None:
    async with opened(file) as broker:
        first, second = Inbox(), Inbox()
        await broker.publish([publication(b"1"), publication(b"2")])
        consumption = await broker.consume("outbox", 1, first)
        await first.wait_for(1)
        await consumption.cancel()
        broker.requeue(first.items[0])
        broker.requeue(first.items[0])
        await broker.consume("outbox", 10, second)
        await second.wait_for(2)
        assert [(item.body, item.redelivered) for item in second.items] == [(b"1", True), (b"2", False)]


async def test_cancelled_consumer_gets_nothing_and_keeps_what_it_has(file: Path) -> None:
    async with opened(file) as broker:
        inbox, other = Inbox(), Inbox()
        await broker.publish([publication(b"1"), publication(b"2")])
        consumption = await broker.consume("outbox", 1, inbox)
        await inbox.wait_for(1)
        await consumption.cancel()
        await consumption.cancel()
        await broker.settle(inbox.items[0], [])
        await broker.consume("outbox", 1, other)
        await other.wait_for(1)
        assert inbox.bodies == [b"1"]
        assert other.bodies == [b"2"]


async def test_prefetch_can_grow_and_shrink(file: Path) -> None:
    async with opened(file) as broker:
        inbox = Inbox()
        await broker.publish([publication(str(number).encode()) for number in range(6)])
        consumption = await broker.consume("outbox", 1, inbox)
        await inbox.wait_for(1)
        await consumption.set_prefetch(4)
        await inbox.wait_for(4)
        await consumption.set_prefetch(2)
        await broker.settle(inbox.items[0], [])
        await broker.settle(inbox.items[1], [])
        await broker.queue_depths()
        assert len(inbox.items) == 4
        await broker.settle(inbox.items[2], [])
        await inbox.wait_for(5)


async def test_what_another_broker_publishes_arrives_soon(file: Path) -> None:
    async with opened(file) as consumer, opened(file) as producer:
        inbox = Inbox()
        await consumer.consume("outbox", 10, inbox)
        assert (await consumer.queue_depths()) == {}
        async with asyncio.timeout(0.2):
            await producer.publish([publication(b"mail")])
            await inbox.wait_for(1)


async def test_properties_survive(file: Path) -> None:
    properties = Properties(
        priority=3, correlation_id="c", reply_to="r", message_id="m", type="t", app_id="a", timestamp=1, headers=b"\x00"
    )
    async with opened(file) as broker:
        inbox = Inbox()
        mail = Publication(queue="q", body=b"mail", properties=properties, role=QueueRole.RESULT)
        await broker.publish([mail, publication(b"plain", "q")])
        await broker.consume("q", 10, inbox)
        await inbox.wait_for(2)
        assert [item.properties for item in inbox.items] == [properties, Properties()]


async def test_close_gives_back_what_is_held_and_flags_it(file: Path) -> None:
    inbox, other = Inbox(), Inbox()
    async with opened(file) as broker:
        await broker.publish([publication(b"mail")])
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
    assert not inbox.items[0].is_held
    await broker.close()
    async with opened(file) as broker:
        await broker.consume("outbox", 10, other)
        await other.wait_for(1)
        assert other.items[0].redelivered


async def test_closing_writes_what_was_submitted(file: Path) -> None:
    inbox = Inbox()
    async with opened(file) as broker:
        await broker.publish([publication(b"mail")])
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        done = broker.settle(inbox.items[0], [publication(b"result", "results")])
    await done
    async with opened(file) as broker:
        assert (await broker.queue_depths()) == {"results": QueueDepth(1, 0, 0)}
