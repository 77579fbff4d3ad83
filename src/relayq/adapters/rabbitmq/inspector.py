"""Looking at queues of a RabbitMQ broker: passive declarations only, which neither make nor change anything.

AMQP shows of a queue how many messages are ready and how many consumers it has. Messages that are handed out, ages and
contents are not visible without consuming, and queues cannot be listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from pamqp import commands

from relayq.adapters.rabbitmq.channel import Channel, printable
from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.declarer import is_queue_name
from relayq.adapters.rabbitmq.dialer import Dialer
from relayq.adapters.rabbitmq.errors import ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, ChannelClosedError
from relayq.adapters.rabbitmq.frames import encode_queue_declare, encode_queue_purge
from relayq.adapters.rabbitmq.link import Link, Log
from relayq.adapters.rabbitmq.options import RabbitMqOptions
from relayq.ports import BrokerRefusedError, BrokerUnavailableError, Clock, DomainState, QueueState

AT_ONCE: Final = 32
"""Queues asked for at the same time, each on a channel of its own: a missing one closes its channel."""

T = TypeVar("T")


class RabbitMqInspector:
    """`relayq.ports.QueueInspector` on RabbitMQ."""

    def __init__(self, options: RabbitMqOptions, clock: Clock, log: Log) -> None:
        assert options.time_limit is not None
        self._limit = options.time_limit
        self._link = Link("inspector", options, Dialer(), _prepare_nothing, clock, log)
        self._broker = "RabbitMQ"

    @property
    def broker(self) -> str:
        """Product, version and place."""
        return self._broker

    async def open(self) -> None:
        """Connect; see `relayq.ports.QueueInspector.open`."""
        await self._link.open()
        self._broker = describe_broker(await self._link.up())

    async def look(self, names: Sequence[str]) -> tuple[QueueState, ...]:
        """The named queues; others cannot be seen."""
        return await self._with_connection(lambda connection: look_at_queues(connection, names))

    async def look_into(self, name: str, ages: Sequence[float]) -> tuple[DomainState, ...] | None:
        """Nothing: messages are not visible without taking them."""
        del name, ages
        return None

    async def purge(self, name: str, *, delayed: bool = False) -> int:
        """Delete what is ready. Nothing waits for its time inside a queue of RabbitMQ."""
        if delayed:
            return 0
        return await self._with_connection(lambda connection: purge_queue(connection, name))

    async def close(self) -> None:
        """Disconnect."""
        await self._link.close()

    async def _with_connection(self, work: Callable[[AmqpConnection], Coroutine[Any, Any, T]]) -> T:
        try:
            async with asyncio.timeout(self._limit):
                return await work(await self._link.up())
        except TimeoutError:
            raise BrokerUnavailableError(f"the broker did not answer within {self._limit:g} s") from None
        except ChannelClosedError as error:
            raise BrokerUnavailableError(str(error)) from None


async def _prepare_nothing(connection: AmqpConnection) -> None:
    """Looking needs no queues."""
    del connection


def describe_broker(connection: AmqpConnection) -> str:
    """Product, version and place, in printable characters."""
    properties = connection.server_properties
    product, version = (printable(str(properties.get(name, "")))[:40] for name in ("product", "version"))
    return f"{product or 'unknown broker'} {version} at {connection.endpoint}".replace("  ", " ")


async def look_at_queues(connection: AmqpConnection, names: Sequence[str]) -> tuple[QueueState, ...]:
    """State of each queue, in the order of the names.

    Raises:
        ChannelClosedError: The connection ended.
    """
    states: list[QueueState] = []
    for start in range(0, len(names), AT_ONCE):
        states += await asyncio.gather(*(look_at_queue(connection, name) for name in names[start : start + AT_ONCE]))
    return tuple(states)


async def look_at_queue(connection: AmqpConnection, name: str) -> QueueState:
    """State of one queue.

    Raises:
        ChannelClosedError: The connection ended.
    """
    if not is_queue_name(name):
        return QueueState(name=name, exists=False, trouble="not a name of a queue")

    async def declare(channel: Channel) -> commands.Queue.DeclareOk:
        request = encode_queue_declare(channel.number, name, passive=True, durable=False, arguments={})
        return await channel.call(request, commands.Queue.DeclareOk)

    try:
        found = await on_channel(connection, declare)
    except ChannelClosedError as error:
        if error.code == NOT_FOUND and "no queue" in error.text:
            return QueueState(name=name, exists=False)
        # A queue that exists while its node is down is "not found" as well.
        if error.code in {ACCESS_REFUSED, RESOURCE_LOCKED, NOT_FOUND}:
            return QueueState(name=name, trouble=error.text)
        raise
    return QueueState(name=name, ready=found.message_count or 0, consumers=found.consumer_count or 0)


async def purge_queue(connection: AmqpConnection, name: str) -> int:
    """Delete what is ready; returns how many.

    Raises:
        BrokerRefusedError: No permission.
        ChannelClosedError: The connection ended.
    """

    async def purge(channel: Channel) -> commands.Queue.PurgeOk:
        return await channel.call(encode_queue_purge(channel.number, name), commands.Queue.PurgeOk)

    try:
        purged = await on_channel(connection, purge)
    except ChannelClosedError as error:
        if error.code in {ACCESS_REFUSED, RESOURCE_LOCKED}:
            raise BrokerRefusedError(f"no permission to purge {name!r}: {error.text}") from None
        if error.code == NOT_FOUND:
            return 0
        raise
    return purged.message_count or 0


async def on_channel(connection: AmqpConnection, work: Callable[[Channel], Coroutine[Any, Any, T]]) -> T:
    """Do something on a channel of its own, which the broker may close without harm to anything else.

    Raises:
        ChannelClosedError: The broker refused what was asked, or the connection ended.
    """
    channel = Channel(connection)
    await channel.open()
    try:
        return await work(channel)
    finally:
        channel.close("done")
