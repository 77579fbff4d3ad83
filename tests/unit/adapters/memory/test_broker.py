from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from relayq.adapters.memory import ManualClock, MemoryBroker, RecordingListener
from relayq.ports import Broker, OutboxItem, Properties, Publication, QueueRole


def publication(
    body: bytes, queue: str = "outbox", *, priority: int | None = None, delay: float | None = None
) -> Publication:
    due_at = None if delay is None else ManualClock().now() + timedelta(seconds=delay)
    properties = Properties(priority=priority)
    return Publication(queue=queue, body=body, properties=properties, role=QueueRole.OUTBOX, due_at=due_at)


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_is_a_broker(clock: ManualClock) -> None:
    broker: Broker = MemoryBroker(clock)
    await broker.open()
    assert not broker.is_blocked
    assert broker.max_publish_bytes > 0
    await broker.close()


async def test_hands_out_by_priority_then_age_within_the_prefetch(clock: ManualClock) -> None:
    broker = MemoryBroker(clock)
    items: list[OutboxItem] = []
    await broker.publish([publication(b"1"), publication(b"2", priority=9), publication(b"3")])
    consumption = await broker.consume("outbox", 2, items.append)
    await turns()
    assert [item.body for item in items] == [b"2", b"1"]
    await broker.settle(items[0], [])
    await turns()
    assert [item.body for item in items] == [b"2", b"1", b"3"]
    assert not items[0].is_held
    assert items[1].is_held
    await consumption.cancel()


async def test_delayed_message_appears_when_its_time_has_come(clock: ManualClock) -> None:
    broker = MemoryBroker(clock)
    await broker.open()
    items: list[OutboxItem] = []
    await broker.publish([publication(b"later", delay=5)])
    await broker.consume("outbox", 10, items.append)
    clock.advance(4.999)
    await turns()
    assert items == []
    assert [waiting.body for waiting in broker.delayed("outbox")] == [b"later"]
    clock.advance(0.001)
    await turns()
    assert [item.body for item in items] == [b"later"]
    assert items[0].consumed_at == clock.monotonic()
    await broker.close()


async def test_requeued_message_keeps_its_place_and_is_flagged(clock: ManualClock) -> None:
    broker = MemoryBroker(clock)
    items: list[OutboxItem] = []
    await broker.publish([publication(b"1"), publication(b"2")])
    consumption = await broker.consume("outbox", 1, items.append)
    await turns()
    await consumption.cancel()
    broker.requeue(items[0])
    assert [waiting.body for waiting in broker.ready("outbox")] == [b"1", b"2"]
    await broker.consume("outbox", 2, items.append)
    await turns()
    assert [(item.body, item.redelivered) for item in items[1:]] == [(b"1", True), (b"2", False)]
    assert broker.unsettled == items[1:]


async def test_settle_waits_while_blocked(clock: ManualClock) -> None:
    listener = RecordingListener()
    broker = MemoryBroker(clock, listener)
    items: list[OutboxItem] = []
    await broker.publish([publication(b"mail")])
    await broker.consume("outbox", 1, items.append)
    await turns()
    broker.set_blocked(blocked=True)
    done = asyncio.ensure_future(broker.settle(items[0], [publication(b"result", "results")]))
    await turns()
    assert not done.done()
    assert items[0].is_held
    assert broker.bodies("results") == []
    broker.set_blocked(blocked=False)
    await done
    assert broker.bodies("results") == [b"result"]
    assert broker.settled == items
    assert listener.flow == [True, False]


async def test_lost_items_come_back_and_settling_them_still_publishes(clock: ManualClock) -> None:
    listener = RecordingListener()
    broker = MemoryBroker(clock, listener)
    items: list[OutboxItem] = []
    await broker.publish([publication(b"mail")])
    await broker.consume("outbox", 1, items.append)
    await turns()
    broker.lose_items()
    assert not items[0].is_held
    await broker.settle(items[0], [publication(b"result", "results")])
    await turns()
    assert listener.losses == 1
    assert [item.redelivered for item in items] == [False, True]
    assert broker.bodies("results") == [b"result"]
    assert broker.settled == []


async def test_unreachable_queue_is_reported_for_results_only(clock: ManualClock) -> None:
    listener = RecordingListener()
    broker = MemoryBroker(clock, listener)
    broker.unroutable.add("results")
    result = Publication(queue="results", body=b"r", properties=Properties(), role=QueueRole.RESULT)
    await broker.publish([result, publication(b"mail", "results")])
    assert listener.unroutable_publications == [result]
    assert broker.bodies("results") == [b"mail"]


async def test_close_gives_everything_back(clock: ManualClock) -> None:
    broker = MemoryBroker(clock)
    items: list[OutboxItem] = []
    await broker.publish([publication(b"1"), publication(b"2")])
    await broker.consume("outbox", 1, items.append)
    await turns()
    await broker.close()
    await turns()
    assert len(items) == 1
    assert [waiting.body for waiting in broker.ready("outbox")] == [b"1", b"2"]


async def test_a_larger_prefetch_takes_effect(clock: ManualClock) -> None:
    broker = MemoryBroker(clock)
    items: list[OutboxItem] = []
    await broker.publish([publication(b"1"), publication(b"2"), publication(b"3")])
    consumption = await broker.consume("outbox", 1, items.append)
    await turns()
    await consumption.set_prefetch(2)
    await turns()
    assert len(items) == 2
