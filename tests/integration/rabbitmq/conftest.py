"""Brokers over a real RabbitMQ, and a look at what it has."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions, Timings
from relayq.ports import OutboxItem, Properties, Publication, QueueRole
from tests.contract.broker.conftest import PATIENCE, Received, RecordingListener, SystemClock, endpoint_of
from tests.support.servers import RabbitMqNode

QUICK = Timings(reconnect_waits=(0.05, 0.1, 0.2, 0.5), republish_waits=(0.05, 0.1))


class Place:
    """A virtual host of a node, and the brokers a test opens there."""

    def __init__(self, node: RabbitMqNode) -> None:
        self.node = node
        self.endpoint = endpoint_of(node.new_vhost())
        self.listener = RecordingListener()
        self.lines: list[tuple[str, str]] = []
        self._brokers: list[RabbitMqBroker] = []

    def make(self, **options: Any) -> RabbitMqBroker:
        """A broker that is not opened."""
        defaults: dict[str, Any] = {"endpoints": (self.endpoint,), "queues": ("results",), "timings": QUICK}
        broker = RabbitMqBroker(RabbitMqOptions(**(defaults | options)), self.listener, SystemClock(), self._log)
        self._brokers.append(broker)
        return broker

    async def open(self, **options: Any) -> RabbitMqBroker:
        """An open broker."""
        broker = self.make(**options)
        async with asyncio.timeout(PATIENCE):
            await broker.open()
        return broker

    def _log(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    def text(self, level: str = "") -> str:
        """What was logged."""
        return "\n".join(text for kind, text in self.lines if kind.startswith(level))

    async def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` beside the event loop."""
        return await asyncio.to_thread(self.node.rabbitmqctl, *arguments)

    async def listed(self, what: str, *columns: str) -> list[dict[str, Any]]:
        """Rows of ``rabbitmqctl list_…`` of this virtual host."""
        where = () if what == "connections" else ("-p", self.endpoint.vhost)
        rows: list[dict[str, Any]] = json.loads(await self.ctl("--formatter", "json", f"list_{what}", *where, *columns))
        return rows

    async def queues(self, *columns: str) -> dict[str, dict[str, Any]]:
        """Queues by name."""
        return {row["name"]: row for row in await self.listed("queues", "name", *columns)}

    async def delete_queue(self, name: str) -> None:
        """Delete a queue behind our back."""
        await self.ctl("delete_queue", "-p", self.endpoint.vhost, name)

    async def close(self) -> None:
        """Close what a test left open."""
        for broker in self._brokers:
            await broker.close()


@pytest.fixture
async def place(rabbitmq: RabbitMqNode) -> AsyncIterator[Place]:
    """An empty virtual host of the session's node."""
    place = Place(rabbitmq)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(place.close)
        yield place


async def consume(broker: RabbitMqBroker, queue: str, prefetch: int = 100) -> Received:
    """Consume into something a test can wait on."""
    received = Received()
    async with asyncio.timeout(PATIENCE):
        await broker.consume(queue, prefetch, received)
    return received


async def publish(broker: RabbitMqBroker, *publications: Publication) -> None:
    """Publish, in bounded time."""
    async with asyncio.timeout(PATIENCE):
        await broker.publish(publications)


async def settle_until(
    broker: RabbitMqBroker, received: Received, is_enough: Callable[[set[bytes]], bool]
) -> list[OutboxItem]:
    """Settle items until ``is_enough`` of the set of bodies is true."""
    items = []
    bodies: set[bytes] = set()
    while not is_enough(bodies):
        item = await received.next()
        items.append(item)
        bodies.add(item.body)
        await broker.settle(item, ())
    return items


def result(body: bytes, queue: str = "results", **properties: Any) -> Publication:
    """A result."""
    return Publication(queue=queue, body=body, properties=Properties(**properties), role=QueueRole.RESULT)


def endpoint(place: Place, **changes: Any) -> Endpoint:
    """The endpoint of a place, changed."""
    known = {name: getattr(place.endpoint, name) for name in ("host", "port", "vhost")}
    return Endpoint(**(known | changes))
