"""A consumer that survives: channels and connections come and go, the consumer of the queue is set up again.

A channel that is clogged by items that stay is left to them, and another one consumed on with the whole prefetch: they
cost the others nothing there. With less of it the window would be full while those who fill it count fewer than the
prefetch, and take it for half empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.consumer import ConsumerChannel, is_consumer_timeout
from relayq.adapters.rabbitmq.declarer import Declarer, is_queue_name
from relayq.adapters.rabbitmq.dialer import Dialer
from relayq.adapters.rabbitmq.errors import ACCESS_REFUSED, NOT_FOUND, ChannelClosedError, ConnectionLostError
from relayq.adapters.rabbitmq.link import Backoff, Link, Log, RareLog
from relayq.adapters.rabbitmq.options import RabbitMqOptions
from relayq.ports import BrokerError, BrokerRefusedError, BrokerUnavailableError, Clock, OutboxItem, TopologyError

LEAVE_SECONDS = 1.0
"""How long a channel may be without a consumer, while what moves on it gets less, before it is left to all of that."""
_TIMEOUT_ADVICE = (
    "the broker took messages back because they were unacknowledged for longer than its consumer_timeout; raise that, "
    "or lower rabbitmq-ack-limit and rabbitmq-max-hold"
)


class ConsumerConnection:
    """A connection for consumers; prepares the topology whenever it is made."""

    def __init__(self, number: int, options: RabbitMqOptions, dialer: Dialer, clock: Clock, log: Log) -> None:
        self.options = options
        self.clock = clock
        self.log = log
        self.declarer: Declarer | None = None
        self.link = Link(f"consumer {number}", options, dialer, self._prepare, clock, log)

    async def _prepare(self, connection: AmqpConnection) -> None:
        declarer = Declarer(connection, self.options, self.log)
        await declarer.prepare()
        self.declarer = declarer


@dataclass(frozen=True, slots=True)
class Feed:
    """A queue, and who gets its messages.

    Attributes:
        home: The connection they come over.
        queue: Its name.
        deliver: Called with each message.
        on_items_lost: Called when the broker took messages back.
    """

    home: ConsumerConnection
    queue: str
    deliver: Callable[[OutboxItem], None]
    on_items_lost: Callable[[], None]


class Consumer:
    """One consumer of one queue on one connection, until it is cancelled."""

    def __init__(self, feed: Feed, prefetch: int) -> None:
        self._feed = feed
        self._home = home = feed.home
        self._queue = feed.queue
        self._prefetch = prefetch
        self._is_stopping = False
        self._changed = asyncio.Event()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed_by: ChannelClosedError | None = None
        self._channel: ConsumerChannel | None = None
        self._left: dict[ConsumerChannel, int] = {}
        self._complain = RareLog(home.clock, home.log, home.options.timings.retry_log_interval)
        self._task = asyncio.create_task(self._run(), name=f"consumer of {feed.queue}")

    async def started(self) -> None:
        """Wait until the broker hands out messages.

        Raises:
            TopologyError: No such queue.
            BrokerRefusedError: No permission.
            BrokerUnavailableError: Closed meanwhile, or not within the time limit of the options.
        """
        try:
            async with asyncio.timeout(self._home.options.time_limit):
                await asyncio.shield(self._started)
        except TimeoutError:
            raise BrokerUnavailableError(f"cannot consume {self._queue!r} within the time limit") from None

    async def cancel(self) -> None:
        """Stop handing out; items stay valid."""
        self._is_stopping = True
        if self._channel is not None:
            self._changed.set()
        else:
            self._task.cancel()
        await asyncio.wait((self._task,))

    def set_prefetch(self, prefetch: int) -> None:
        """Change the prefetch with the next consumer, which is set up at once or when few enough items are held."""
        self._prefetch = prefetch
        self._changed.set()

    async def stop(self) -> None:
        """End at once; the connection is closed by its owner."""
        self._task.cancel()
        await asyncio.wait((self._task,))
        self._fail_start(BrokerUnavailableError("closed before the consumer had started"))

    def _fail_start(self, error: BrokerError) -> None:
        if not self._started.done():
            self._started.set_exception(error)
            self._started.exception()  # whoever waits gets it; nobody may be left to wait

    async def _run(self) -> None:
        timings = self._home.options.timings
        backoff = Backoff(timings)
        while not self._is_stopping:
            connection = await self._home.link.up()
            began = self._home.clock.monotonic()
            error = await self._consume_until_error(connection)
            if error is None or self._is_stopping:
                return
            if not self._started.done() and (refusal := _refusal(self._queue, error)) is not None:
                self._fail_start(refusal)
                return
            if connection.lost.done():
                continue  # the link has waits of its own
            self._note(error)
            if self._home.clock.monotonic() - began >= timings.stable_after:
                backoff.reset()
            await asyncio.sleep(backoff.next_wait())

    async def _consume_until_error(self, connection: AmqpConnection) -> ChannelClosedError | None:
        """Consume until told to stop (``None``), or until the channel or the connection ends."""
        self._closed_by = None
        try:
            await self._declare()
            channel = self._channel = await self._open(connection)
            while not self._is_stopping and channel.is_open:
                channel = self._channel = await self._consume_on(channel)
            if channel.is_open:
                channel.close_when_empty()
        except ConnectionLostError as error:
            return ChannelClosedError(error.code, str(error))
        except ChannelClosedError as error:
            return error
        except Exception as error:
            self._home.log("error", f"consumer of queue {self._queue!r}: internal error: {error!r}")
            return ChannelClosedError(0, "internal error")
        finally:
            self._channel = None
        return self._closed_by

    async def _open(self, connection: AmqpConnection) -> ConsumerChannel:
        channel = ConsumerChannel(
            connection,
            self._feed.deliver,
            self._home.clock.monotonic,
            lambda error, is_loss: self._take_end(channel, error, is_loss),
            self._changed.set,
        )
        await channel.open()
        return channel

    async def _declare(self) -> None:
        """Declare the queue: it may be none of the configured ones, or have been deleted meanwhile."""
        declarer = self._home.declarer
        if declarer is not None and self._home.options.declare and is_queue_name(self._queue):
            await declarer.declare_one(self._queue)

    async def _consume_on(self, channel: ConsumerChannel) -> ConsumerChannel:
        """Consume with one prefetch until it has to change, or the channel to be left, or everything ends.

        A new consumer does not count what the old one handed out. So the new one starts when at most half of its
        prefetch is still held besides what stays: at once when the prefetch doubles, later when it shrinks.

        Returns:
            The channel to go on with.
        """
        prefetch = self._prefetch
        await channel.consume(self._queue, prefetch)
        if not self._started.done():
            self._started.set_result(None)
        staying = 0
        while not staying and channel.is_open and self._prefetch == prefetch and not self._is_stopping:
            await self._next_change()
            staying = self._count_staying(channel)
        if not channel.is_open:
            return channel
        await channel.cancel()
        limit = LEAVE_SECONDS if self._prefetch >= prefetch else None  # fewer are wanted: then fewer it has to be
        staying = await self._until_few_move(channel, staying, limit)
        if not staying or self._is_stopping or not channel.is_open:
            return channel
        self._left[channel] = staying
        channel.close_when_empty()
        return await self._open(channel.connection)

    async def _until_few_move(self, channel: ConsumerChannel, staying: int, seconds: float | None) -> int:
        """Wait until at most half of the prefetch is held besides what stays, or the time is over.

        Returns:
            How much stays: in the end all of it.
        """
        try:
            async with asyncio.timeout(seconds):
                while channel.held > staying + self._prefetch // 2 and not self._is_stopping and channel.is_open:
                    channel.few = staying + self._prefetch // 2
                    await self._next_change()
        except TimeoutError:
            return channel.held  # what moved stands still by now: nobody is to wait for it
        finally:
            channel.few = -1
        return staying

    def _count_left(self) -> int:
        """Items that stay on channels that were left."""
        self._left = {channel: staying for channel, staying in self._left.items() if channel.is_open}
        return sum(min(channel.held, staying) for channel, staying in self._left.items())

    def _count_staying(self, channel: ConsumerChannel) -> int:
        """How many items the channel is to be left to; 0 while it is not clogged, or too much would stay somewhere."""
        if not channel.is_clogged:
            return 0
        staying = channel.count_overtaken()
        if staying + self._count_left() <= self._prefetch // 2:
            return staying
        channel.bear_it()
        return 0

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _take_end(self, channel: ConsumerChannel, error: ChannelClosedError, is_loss: bool) -> None:
        if channel not in self._left:
            self._closed_by = error
        elif is_consumer_timeout(error):
            self._note(error)
        self._changed.set()
        if is_loss:
            self._feed.on_items_lost()

    def _note(self, error: ChannelClosedError) -> None:
        if is_consumer_timeout(error):
            self._home.log("warning", f"queue {self._queue!r}: {_TIMEOUT_ADVICE} ({error.text})")
        else:
            self._complain(f"consumer of queue {self._queue!r} ended: {error}; consuming again")


class RabbitMqConsumption:
    """The consumers of one queue, one per consumer connection."""

    def __init__(self, consumers: tuple[Consumer, ...], on_cancelled: Callable[[RabbitMqConsumption], None]) -> None:
        self._consumers = consumers
        self._on_cancelled = on_cancelled

    async def cancel(self) -> None:
        """Stop handing out; items stay valid."""
        self._on_cancelled(self)
        await asyncio.gather(*(consumer.cancel() for consumer in self._consumers))

    async def set_prefetch(self, prefetch: int) -> None:
        """Change the prefetch of each consumer; up to half as many more may be out for a moment."""
        for consumer in self._consumers:
            consumer.set_prefetch(prefetch)

    async def started(self) -> None:
        """Wait for all of them; raises what `Consumer.started` raises."""
        await asyncio.gather(*(consumer.started() for consumer in self._consumers))

    async def stop(self) -> None:
        """End at once."""
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))


def _refusal(queue: str, error: ChannelClosedError) -> BrokerError | None:
    """What the first try means when it will not get better by itself."""
    if error.code == NOT_FOUND:
        return TopologyError(f"queue {queue!r} does not exist: {error.text}")
    if error.code == ACCESS_REFUSED:
        return BrokerRefusedError(f"no permission to consume {queue!r}: {error.text}")
    return None
