"""Adapters the contract suite runs against, and what its tests share.

An adapter is one entry of `ADAPTERS`: a function that takes pytest's request and returns a `BrokerFactory` for storage
of its own (a virtual host, a file).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest

from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.embedded import Timings as EmbeddedTimings
from relayq.adapters.memory import MemoryBroker, MemoryQueues
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions, Timings
from relayq.ports import Broker, BrokerListener, OutboxItem, Properties, Publication, QueueRole
from tests.support.servers import RabbitMqNode

OUTBOX = "outbox"
RESULTS = "results"
PATIENCE = 90.0  # seconds; nothing waits that long unless it is broken


class SystemClock:
    """The real clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class RecordingListener:
    """Remembers what the broker tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.flow: asyncio.Queue[bool] = asyncio.Queue()
        self.losses: asyncio.Queue[None] = asyncio.Queue()
        self.unroutables: asyncio.Queue[Publication] = asyncio.Queue()

    def flow_changed(self, *, blocked: bool) -> None:
        self.flow.put_nowait(blocked)

    def items_lost(self) -> None:
        self.losses.put_nowait(None)

    def replace_copy(self, publication: Publication) -> Publication | None:
        return publication

    def unroutable(self, publication: Publication) -> None:
        self.unroutables.put_nowait(publication)


class BrokerFactory(Protocol):
    """One adapter over one storage of its own.

    Attributes:
        has_priorities: Of what is ready, the larger priority is handed out first.
        can_cut: `cut` works: the broker can take items back while the process lives.
        can_block: `block` works.
        cuts_end_drains: `cut` ends drains too.
    """

    has_priorities: bool
    can_cut: bool
    can_block: bool
    cuts_end_drains: bool

    def make(self, listener: BrokerListener, clock: SystemClock) -> Broker:
        """A new broker object on this storage, with the queues `OUTBOX` and `RESULTS`; not opened."""
        ...

    async def cut(self) -> None:
        """End all connections from the broker's side."""
        ...

    async def block(self) -> None:
        """Make the broker take no publications, as with a full disk."""
        ...

    async def unblock(self) -> None:
        """Undo `block`."""
        ...

    def close(self) -> None:
        """Remove the storage."""
        ...


class RabbitMqFactory:
    """RabbitMQ, a virtual host per test."""

    has_priorities = True
    can_cut = True
    can_block = True
    cuts_end_drains = True

    def __init__(self, node: RabbitMqNode) -> None:
        self._node = node
        self._endpoint = endpoint_of(node.new_vhost())

    def make(self, listener: BrokerListener, clock: SystemClock) -> Broker:
        options = RabbitMqOptions(
            endpoints=(self._endpoint,),
            outbox=OUTBOX,
            queues=(RESULTS,),
            max_priority=4,
            timings=Timings(reconnect_waits=(0.05, 0.1, 0.2, 0.5), drain_check=0.05),
        )
        return RabbitMqBroker(options, listener, clock, lambda _level, _text: None)

    async def cut(self) -> None:
        command = ("close_all_connections", "--vhost", self._endpoint.vhost, "cut by a test")
        answer = await asyncio.to_thread(self._node.rabbitmqctl, *command)
        assert "Closed 0" not in answer

    async def block(self) -> None:
        await asyncio.to_thread(self._node.rabbitmqctl, "set_vm_memory_high_watermark", "0.0000001")

    async def unblock(self) -> None:
        await asyncio.to_thread(self._node.rabbitmqctl, "set_vm_memory_high_watermark", "absolute", "1GB")

    def close(self) -> None:
        """The node ends with the session."""


class EmbeddedFactory:
    """The embedded broker, a file per test."""

    has_priorities = True
    can_cut = False
    can_block = True
    cuts_end_drains = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._intruder: sqlite3.Connection | None = None

    def make(self, listener: BrokerListener, clock: SystemClock) -> Broker:
        timings = EmbeddedTimings(lock_patience=0.1, retry_interval=0.05, sweep_interval=0.1)
        options = EmbeddedOptions(path=str(self._path), timings=timings)
        return EmbeddedBroker(options, listener, clock, lambda _level, _text: None)

    async def cut(self) -> None:
        """There is no connection."""

    async def block(self) -> None:
        self._intruder = sqlite3.connect(self._path, isolation_level=None)
        self._intruder.execute("BEGIN IMMEDIATE")

    async def unblock(self) -> None:
        assert self._intruder is not None
        self._intruder.close()

    def close(self) -> None:
        """The file goes with the test's folder."""


class MemoryFactory:
    """The broker in memory, queues per test."""

    has_priorities = True
    can_cut = True
    can_block = True
    cuts_end_drains = False

    def __init__(self) -> None:
        self._queues: MemoryQueues | None = None
        self._brokers: list[MemoryBroker] = []

    def make(self, listener: BrokerListener, clock: SystemClock) -> Broker:
        if self._queues is None:
            self._queues = MemoryQueues(clock)
        broker = MemoryBroker(clock, listener, self._queues)
        self._brokers.append(broker)
        return broker

    async def cut(self) -> None:
        for broker in self._brokers:
            broker.lose_items()

    async def block(self) -> None:
        for broker in self._brokers:
            broker.set_blocked(blocked=True)

    async def unblock(self) -> None:
        for broker in self._brokers:
            broker.set_blocked(blocked=False)

    def close(self) -> None:
        """Nothing outlives the test."""


def endpoint_of(url: str) -> Endpoint:
    """Endpoint of an address of the test node."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Endpoint(host=parts.hostname, port=parts.port, vhost=parts.path[1:] or "/")


ADAPTERS: dict[str, tuple[Callable[[pytest.FixtureRequest], BrokerFactory], tuple[pytest.MarkDecorator, ...]]] = {
    "rabbitmq": (lambda request: RabbitMqFactory(request.getfixturevalue("rabbitmq")), (pytest.mark.server,)),
    "embedded": (lambda request: EmbeddedFactory(request.getfixturevalue("tmp_path") / "relayq.db"), ()),
    "memory": (lambda _request: MemoryFactory(), ()),
}


@pytest.fixture(params=[pytest.param(make, id=name, marks=marks) for name, (make, marks) in ADAPTERS.items()])
def factory(request: pytest.FixtureRequest) -> Any:
    """The adapter under test."""
    factory: BrokerFactory = request.param(request)
    yield factory
    factory.close()


class Bench:
    """Opens brokers, consumes into queues a test can wait on, and closes everything at the end."""

    def __init__(self, factory: BrokerFactory) -> None:
        self.factory = factory
        self.clock = SystemClock()
        self._brokers: list[Broker] = []

    async def open(self, listener: BrokerListener | None = None) -> Broker:
        """Another broker object on the same storage."""
        broker = self.factory.make(listener or RecordingListener(), self.clock)
        self._brokers.append(broker)
        async with asyncio.timeout(PATIENCE):
            await broker.open()
        return broker

    async def close(self) -> None:
        """Close what a test left open."""
        for broker in self._brokers:
            await broker.close()


@pytest.fixture
async def bench(factory: BrokerFactory) -> AsyncIterator[Bench]:
    """Brokers of the adapter under test."""
    bench = Bench(factory)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(bench.close)
        yield bench


class Received:
    """Items in the order they were handed out."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[OutboxItem] = asyncio.Queue()

    def __call__(self, item: OutboxItem) -> None:
        self._queue.put_nowait(item)

    async def next(self) -> OutboxItem:
        async with asyncio.timeout(PATIENCE):
            return await self._queue.get()

    async def take(self, count: int) -> list[OutboxItem]:
        return [await self.next() for _ in range(count)]

    def waiting(self) -> int:
        """How many were handed out that no test has taken yet."""
        return self._queue.qsize()


def message(body: bytes, queue: str = OUTBOX, due_at: datetime | None = None, **properties: Any) -> Publication:
    """A publication; what goes to the outbox is never given up."""
    role = QueueRole.OUTBOX if queue == OUTBOX else QueueRole.RESULT
    return Publication(queue=queue, body=body, properties=Properties(**properties), role=role, due_at=due_at)
