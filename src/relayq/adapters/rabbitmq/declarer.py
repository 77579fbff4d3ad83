"""Declares queues, on a channel of its own: the broker answers a refused declaration by closing the channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pamqp import commands

from relayq.adapters.rabbitmq.channel import Channel
from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.errors import ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, ChannelClosedError
from relayq.adapters.rabbitmq.frames import encode_exchange_declare, encode_queue_bind, encode_queue_declare
from relayq.adapters.rabbitmq.options import RabbitMqOptions
from relayq.adapters.rabbitmq.topology import (
    LAZY_ARGUMENT,
    QueueDeclaration,
    Topology,
    declaration_error,
    parse_version,
    topology_error,
)
from relayq.ports import TopologyError

# AMQP short strings: what is longer is no name.
LONGEST_NAME_BYTES = 255


class Declarer:
    """Declares on one connection; calls must not overlap unless `declare_one` makes them."""

    def __init__(self, connection: AmqpConnection, options: RabbitMqOptions, log: Callable[[str, str], None]) -> None:
        self.version = parse_version(connection.server_properties)
        self.topology = Topology(options, self.version)
        self._connection = connection
        self._options = options
        self._log = log
        self._channel: Channel | None = None
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        """Declare, or only check, everything configured.

        Raises:
            TopologyError: Something exists differently, or is missing and must not be declared.
            BrokerRefusedError: No permission.
            ChannelClosedError: Anything that may pass.
        """
        async with self._lock:
            await self._prepare_exchange()
            pending = list(self.topology.configured()) if self._options.prepare else []
            toggled: set[str] = set()
            while pending:
                pending = await self._declare_run(pending, toggled)

    async def _prepare_exchange(self) -> None:
        exchange = self._options.exchange
        if not exchange:
            return
        channel = await self._open()
        durable, passive = self._options.durable, not self._options.declare
        request = encode_exchange_declare(channel.number, exchange, passive=passive, durable=durable)
        try:
            await channel.call(request, commands.Exchange.DeclareOk)
        except ChannelClosedError as error:
            if passive and error.code == NOT_FOUND:
                raise TopologyError(f"exchange {exchange!r} does not exist, and rabbitmq-declare is false") from None
            raise declaration_error(error.code, error.text, exchange) or error from None

    async def _declare_run(self, queues: Sequence[QueueDeclaration], toggled: set[str]) -> list[QueueDeclaration]:
        """Declare in one go up to the first refusal; what has to be declared then."""
        channel = await self._open()
        answers = [self._declare(channel, queue) for queue in queues]
        for position, (queue, answer) in enumerate(zip(queues, answers, strict=True)):
            try:
                for part in answer:
                    await part
            except ChannelClosedError as error:
                rest = list(queues[position + 1 :])
                if self._may_toggle_lazy(error) and queue.name not in toggled:
                    toggled.add(queue.name)
                    return [queue.with_lazy_toggled(), *rest]
                self._judge(queue, error)
                return rest
        return []

    def _declare(self, channel: Channel, queue: QueueDeclaration) -> list[asyncio.Future[Any]]:
        """Send what declares and binds a queue; the replies."""
        declare = self._options.declare
        request = encode_queue_declare(
            channel.number,
            queue.name,
            passive=not declare,
            durable=queue.durable,
            arguments=dict(queue.arguments) if declare else {},
        )
        answers: list[asyncio.Future[Any]] = [channel.call(request, commands.Queue.DeclareOk)]
        if self._options.exchange and declare:
            bind = encode_queue_bind(channel.number, queue.name, self._options.exchange)
            answers.append(channel.call(bind, commands.Queue.BindOk))
        return answers

    def _may_toggle_lazy(self, error: ChannelClosedError) -> bool:
        return self._options.declare and error.code == PRECONDITION_FAILED and LAZY_ARGUMENT in error.text

    def _judge(self, queue: QueueDeclaration, error: ChannelClosedError) -> None:
        if not self._options.declare and error.code == NOT_FOUND:
            if queue.is_required:
                raise TopologyError(f"queue {queue.name!r} does not exist, and rabbitmq-declare is false") from None
            self._log("warning", f"queue {queue.name!r} does not exist; results for it will only be logged")
            return
        raise declaration_error(error.code, error.text, queue.name) or error from None

    async def declare_one(self, name: str) -> bool:
        """Declare a queue on first use, whose name `is_queue_name`; whether it can be published to.

        Raises:
            ChannelClosedError: The connection ended, or something that may pass.
        """
        async with self._lock:
            queue = self.topology.find(name)
            for attempt in (queue, queue.with_lazy_toggled()):
                channel = await self._open()
                try:
                    for part in self._declare(channel, attempt):
                        await part
                except ChannelClosedError as error:
                    if self._may_toggle_lazy(error) and attempt is queue:
                        continue
                    return self._is_usable(name, error)
                else:
                    return True
            return True

    async def declare_parking(self, name: str, seconds: int) -> bool:
        """Declare a parking queue; false when it must not be used.

        One with other arguments might keep messages for ever, so it is left alone, unlike a result queue.

        Raises:
            ChannelClosedError: As `declare_one`.
        """
        async with self._lock:
            channel = await self._open()
            try:
                for part in self._declare(channel, self.topology.parking(name, seconds)):
                    await part
            except ChannelClosedError as error:
                if error.code == PRECONDITION_FAILED:
                    self._log("warning", f"parking queue {name!r} cannot be used: {topology_error(error.text)}")
                    return False
                return self._is_usable(name, error)
            else:
                return True

    def _is_usable(self, name: str, error: ChannelClosedError) -> bool:
        if error.code == PRECONDITION_FAILED:
            return True  # it exists, as somebody else wanted it
        if error.code == ACCESS_REFUSED:
            self._log("error", f"no permission to declare queue {name!r}: {error.text}")
            return False
        raise error

    async def _open(self) -> Channel:
        """The channel, a new one when the last declaration was refused."""
        channel = self._channel
        if channel is None or not channel.is_open:
            channel = self._channel = Channel(self._connection)
            await channel.open()
        return channel


def is_queue_name(name: str) -> bool:
    """Whether AMQP can name a queue so; an empty name would make the broker invent a queue."""
    try:
        return 0 < len(name.encode()) <= LONGEST_NAME_BYTES
    except UnicodeEncodeError:
        return False
