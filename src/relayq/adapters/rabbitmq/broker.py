"""`relayq.ports.Broker` on RabbitMQ: publish everything, wait for the confirms, then acknowledge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import replace

from pamqp import commands

from relayq.adapters.rabbitmq.channel import Channel
from relayq.adapters.rabbitmq.consumer import RabbitMqItem
from relayq.adapters.rabbitmq.consumption import Consumer, ConsumerConnection, Feed, RabbitMqConsumption
from relayq.adapters.rabbitmq.dialer import Dialer
from relayq.adapters.rabbitmq.draining import Drain
from relayq.adapters.rabbitmq.errors import ChannelClosedError, ConnectionLostError
from relayq.adapters.rabbitmq.frames import encode_queue_declare
from relayq.adapters.rabbitmq.link import Log
from relayq.adapters.rabbitmq.options import RabbitMqOptions
from relayq.adapters.rabbitmq.pending import PendingPublish, Settlement
from relayq.adapters.rabbitmq.publisher import Publisher
from relayq.ports import BrokerListener, Clock, OutboxItem, Parking, Publication


class _Nothing:
    """What there is to wait for when nothing is published."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_NOTHING = _Nothing()


class RabbitMqBroker:
    """A broker for one process: publisher connections from `open` on, consumer connections from the first `consume`.

    ``log`` is called with a level (``info``, ``warning``, ``error``) and one line of text without credentials.
    """

    def __init__(self, options: RabbitMqOptions, listener: BrokerListener, clock: Clock, log: Log) -> None:
        self._options = options
        self._listener = listener
        self._clock = clock
        self._log = log
        self._dialer = Dialer()
        self._publishers: tuple[Publisher, ...] = ()
        self._consumer_connections: tuple[ConsumerConnection, ...] = ()
        self._connecting = asyncio.Lock()
        self._consumptions: set[RabbitMqConsumption] = set()
        self._is_blocked = False
        self._is_closed = False
        self._turn = 0
        self._loop = asyncio.get_running_loop()

    @property
    def is_blocked(self) -> bool:
        """One of the publisher connections is blocked by the broker."""
        return self._is_blocked

    @property
    def is_connected(self) -> bool:
        """Every connection there should be is up."""
        links = [each.link for each in self._publishers] + [each.link for each in self._consumer_connections]
        return bool(links) and all(link.is_up for link in links)

    @property
    def max_publish_bytes(self) -> int:
        """Largest body, by configuration, by broker version, or as the broker told when it refused one."""
        publishers = self._publishers
        if len(publishers) == 1:  # asked several times per message
            return publishers[0].max_publish
        return min((publisher.max_publish for publisher in publishers), default=self._options.max_publish)

    def reconfigure(self, *, persistent: bool, gzip: bool, throttle: int, max_publish: int) -> None:
        """Take over the settings that a reload may change, for everything published from now on."""
        self._options = replace(
            self._options, persistent=persistent, gzip=gzip, throttle=throttle, max_publish=max_publish
        )
        for publisher in self._publishers:
            publisher.reconfigure(self._options)

    async def open(self) -> None:
        """Connect the publishers and prepare the queues; see `relayq.ports.Broker.open`."""
        if any(endpoint.tls and not endpoint.verify for endpoint in self._options.endpoints):
            self._log("warning", "certificates of brokers are not checked (rabbitmq-verify: false)")
        self._publishers = tuple(
            Publisher(
                number,
                self._options,
                self._dialer,
                self._clock,
                self._log,
                self._blocked_changed,
                self._listener.unroutable,
                self._listener.replace_copy,
            )
            for number in range(1, self._options.publishers + 1)
        )
        try:
            for publisher in self._publishers:
                await publisher.open()
        except BaseException:
            await self.close()
            raise

    def _blocked_changed(self) -> None:
        blocked = any(publisher.is_blocked for publisher in self._publishers)
        if blocked != self._is_blocked:
            self._is_blocked = blocked
            self._log("warning", "the broker takes no messages now" if blocked else "the broker takes messages again")
            self._listener.flow_changed(blocked=blocked)

    async def consume(self, queue: str, prefetch: int, deliver: Callable[[OutboxItem], None]) -> RabbitMqConsumption:
        """Hand out messages of ``queue``; ``prefetch`` counts per consumer connection (spec amqp.md 5).

        Raises:
            TopologyError: The queue does not exist and must not be declared, or differs from what is wanted.
            BrokerRefusedError: No permission.
            BrokerUnavailableError: Only when constructed with a time limit.
        """
        await self._connect_consumers()
        consumption = RabbitMqConsumption(
            tuple(
                Consumer(Feed(connection, queue, deliver, self._listener.items_lost), prefetch)
                for connection in self._consumer_connections
            ),
            self._consumptions.discard,
        )
        self._consumptions.add(consumption)
        try:
            await consumption.started()
        except BaseException:
            await consumption.stop()
            raise
        return consumption

    async def drain(self, queue: str, parking: Parking, prefetch: int, deliver: Callable[[OutboxItem], None]) -> bool:
        """See `relayq.ports.Broker.drain`: a consumer of one connection, those take turns."""
        await self._connect_consumers()
        self._turn += 1
        home = self._consumer_connections[self._turn % len(self._consumer_connections)]
        feed = Feed(home, parking.queue(queue), deliver, self._listener.items_lost)
        return await Drain(feed, prefetch).run()

    async def _connect_consumers(self) -> None:
        async with self._connecting:
            if self._consumer_connections:
                return
            connections = tuple(
                ConsumerConnection(number, self._options, self._dialer, self._clock, self._log)
                for number in range(1, self._options.consumers + 1)
            )
            try:
                for connection in connections:
                    await connection.link.open()
            except BaseException:
                for connection in connections:
                    await connection.link.close()
                raise
            self._consumer_connections = connections

    def settle(self, item: OutboxItem, publications: Sequence[Publication]) -> Awaitable[None]:
        """Publish, and acknowledge after the last confirm."""
        assert isinstance(item, RabbitMqItem)
        if not publications:
            item.channel.finish(item)
            return _NOTHING
        # All publications of one message take the same way, so they stay in order (spec amqp.md 2).
        publisher = self._publishers[item.tag % len(self._publishers)]
        return self._submit(publisher, publications, item)

    async def count_consumers(self, queue: str) -> int | None:
        """As the broker counts."""
        connections = self._consumer_connections
        if not connections or not connections[0].link.is_up:
            return None
        channel = Channel(await connections[0].link.up())
        try:
            await channel.open()
            request = encode_queue_declare(channel.number, queue, passive=True, durable=False, arguments={})
            answer = await channel.call(request, commands.Queue.DeclareOk)
        except (ChannelClosedError, ConnectionLostError):
            return None
        channel.close("no longer needed")
        return answer.consumer_count

    def requeue(self, item: OutboxItem) -> None:
        """Give an item back."""
        assert isinstance(item, RabbitMqItem)
        item.channel.requeue(item)

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish without a consumed item; returns once all are confirmed.

        Raises:
            BrokerUnavailableError: Closed before the broker confirmed; not there within the time limit.
        """
        if publications:
            self._turn += 1
            await self._submit(self._publishers[self._turn % len(self._publishers)], publications, None)

    def _submit(
        self, publisher: Publisher, publications: Sequence[Publication], item: RabbitMqItem | None
    ) -> asyncio.Future[None]:
        outbox = self._options.outbox
        submit = publisher.submit
        for publication in publications:
            if publication.due_at is None and publication.parking is None:
                continue
            if publication.queue != outbox:
                raise ValueError(f"only messages for {outbox!r} can wait, not for {publication.queue!r}")
            if item is not None:  # else somebody waits for this call
                submit = publisher.submit_in_burst
        settlement = Settlement(self._loop.create_future(), len(publications), item)
        for publication in publications:
            submit(PendingPublish(publication, settlement, publication.body, self._due(publication)))
        return settlement.future

    def _due(self, publication: Publication) -> float:
        if publication.due_at is None:
            return 0.0
        return self._clock.monotonic() + (publication.due_at - self._clock.now()).total_seconds()

    async def close(self) -> None:
        """Flush acknowledgements, stop consuming, close all connections. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        consumptions, self._consumptions = self._consumptions, set()
        for consumption in consumptions:
            await consumption.stop()
        await asyncio.gather(
            *(connection.link.close() for connection in self._consumer_connections),
            *(publisher.close() for publisher in self._publishers),
        )
