"""What both brokers promise to whoever looks at their queues."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relayq.app import open_broker, open_inspector
from relayq.config import load, parse_options
from relayq.ports import Broker, OutboxItem, Properties, Publication, QueueInspector, QueueRole, QueueState

PATIENCE = 90.0


class Bench:
    """A broker with queues ``outbox`` and ``results``, and an inspector beside it."""

    def __init__(self, address: str) -> None:
        options = [f"--rabbitmq-address={address}", "--rabbitmq-results=results", "--hostname=host.example"]
        self.settings = load(parse_options(options), no_default_config=True)
        self.is_embedded = address.startswith("embedded:")
        self.broker: Broker = open_broker(self.settings, time_limit=PATIENCE, is_worker=True)
        self.inspector: QueueInspector = open_inspector(self.settings, time_limit=PATIENCE)

    async def publish(self, body: bytes, queue: str = "outbox", due_at: datetime | None = None) -> None:
        publication = Publication(
            queue=queue, body=body, properties=Properties(), role=QueueRole.OUTBOX, due_at=due_at
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            await self.broker.publish((publication,))

    async def look(self, name: str) -> QueueState:
        async with asyncio.timeout(PATIENCE):
            return (await self.inspector.look((name,)))[0]

    async def look_until(self, name: str, ready: int) -> QueueState:
        """RabbitMQ counts what it confirmed a moment later."""
        async with asyncio.timeout(PATIENCE):
            while (state := await self.look(name)).ready != ready:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.02)
        return state


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.server)])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    is_embedded = request.param == "embedded"
    bench = Bench(f"embedded://{tmp_path}/q.db" if is_embedded else request.getfixturevalue("rabbitmq_vhost"))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(bench.broker.close)
        stack.push_async_callback(bench.inspector.close)
        async with asyncio.timeout(PATIENCE):
            await bench.broker.open()
            await bench.inspector.open()
        yield bench


async def test_counts_of_what_is_ready_and_nothing_is_touched(bench: Bench) -> None:
    for number in range(3):
        await bench.publish(b'{"n":%d}' % number)
    await bench.look_until("outbox", 3)
    names = ("results", "outbox")
    states = await bench.inspector.look(names)
    assert [(state.name, state.ready) for state in states[:2]] == [("results", 0), ("outbox", 3)]
    received: asyncio.Queue[OutboxItem] = asyncio.Queue()
    await bench.broker.consume("outbox", 10, received.put_nowait)
    async with asyncio.timeout(PATIENCE):
        items = [await received.get() for _ in range(3)]
    assert not any(item.redelivered for item in items)


async def test_what_is_handed_out_is_not_ready_and_survives_a_purge(bench: Bench) -> None:
    for number in range(5):
        await bench.publish(b'{"n":%d}' % number)
    received: asyncio.Queue[OutboxItem] = asyncio.Queue()
    await bench.broker.consume("outbox", 2, received.put_nowait)
    async with asyncio.timeout(PATIENCE):
        items = [await received.get() for _ in range(2)]
    state = await bench.look_until("outbox", 3)
    assert (state.unsettled, state.consumers) == ((2, None) if bench.is_embedded else (None, 1))
    assert await bench.inspector.purge("outbox") == 3
    assert (await bench.look("outbox")).ready == 0
    assert all(item.is_held for item in items)
    bench.broker.requeue(items[0])
    async with asyncio.timeout(PATIENCE):
        assert (await received.get()).body == items[0].body


async def test_delayed_messages_stay_when_the_outbox_is_purged(bench: Bench) -> None:
    await bench.publish(b"{}", due_at=datetime.now(UTC) + timedelta(seconds=600))
    await bench.publish(b"{}")
    await bench.look_until("outbox", 1)
    assert await bench.inspector.purge("outbox") == 1
    delay = "outbox" if bench.is_embedded else "outbox.delay.600"
    if bench.is_embedded:
        assert (await bench.look(delay)).delayed == 1
    else:
        await bench.look_until(delay, 1)
    assert await bench.inspector.purge(delay, delayed=bench.is_embedded) == 1
    state = await bench.look(delay)
    assert state.ready + (state.delayed or 0) == 0


async def test_a_large_queue_goes_completely(bench: Bench) -> None:
    publication = Publication(queue="outbox", body=b"{}", properties=Properties(), role=QueueRole.OUTBOX)
    async with asyncio.timeout(PATIENCE):
        await bench.broker.publish((publication,) * 1234)
    await bench.look_until("outbox", 1234)
    assert await bench.inspector.purge("outbox") == 1234
    assert (await bench.look("outbox")).ready == 0
    assert await bench.inspector.purge("outbox") == 0


async def test_unknown_queues(bench: Bench) -> None:
    state = await bench.look("nonsense")
    assert state.exists is bench.is_embedded
    assert state.messages == 0
    assert await bench.inspector.purge("nonsense") == 0


async def test_many_queues_that_are_not_there(bench: Bench) -> None:
    names = tuple(f"missing {number}" for number in range(100))
    async with asyncio.timeout(PATIENCE):
        states = await bench.inspector.look((*names, "outbox"))
    assert [state.name for state in states[:101]] == [*names, "outbox"]
    assert states[100].exists


async def test_the_place_is_told_without_credentials(bench: Bench) -> None:
    assert ("q.db" if bench.is_embedded else "RabbitMQ 3.") in bench.inspector.broker
    assert "guest" not in bench.inspector.broker
