"""Consuming: one channel per consumer, acknowledgements in batches, consumers that come back.

Of each channel the open delivery tags are kept in order. An acknowledgement with ``multiple`` covers every lower tag,
so it is only used up to below the lowest tag that is still open (spec amqp.md 5).

One item that stays thus makes all acknowledgements behind it single ones. Each of them costs the broker far more than
its part of a batch, and it looks through everything handed out before, in two processes: with a few dozen items that
stay, a message costs the broker twice as much (RabbitMQ 3.10). Such a channel is *clogged*. What
ends before its turn, as parked messages do, waits a moment to be covered with the others.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import takewhile

import msgspec
from pamqp import base, commands

from relayq.adapters.rabbitmq.channel import Channel
from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.errors import PRECONDITION_FAILED, ChannelClosedError
from relayq.adapters.rabbitmq.frames import Delivery, encode_ack, encode_consume, encode_requeue
from relayq.ports import OutboxItem, Properties

CLOGGED_AFTER = 200
"""So many single acknowledgements in a row, and the channel had better be left to what stays."""
PLENTY = 100
"""While more items than this are held, nobody waits for what an acknowledgement makes the broker hand out."""

MOST_WAITING = 100
"""Acknowledgements of items that overtook others wait to be covered, as long as plenty is held; so many at most."""
WAIT_SECONDS = 0.5
"""So long at least, twice as long at most."""


class RabbitMqItem(msgspec.Struct, eq=False):
    """A consumed message. ``is_held`` turns false when the broker took it back."""

    body: bytes
    properties: Properties
    redelivered: bool
    consumed_at: float
    tag: int
    channel: ConsumerChannel
    is_held: bool = True

    @property
    def origin(self) -> ConsumerChannel:
        """The channel it came on."""
        return self.channel

    @property
    def identity(self) -> bytes:
        """That of the copy it is, if this program published it."""
        return self.properties.copy_id

    def __repr__(self) -> str:
        return f"<RabbitMqItem {self.tag}, {len(self.body)} bytes{'' if self.is_held else ', not held'}>"


class ConsumerChannel(Channel):
    """A channel that consumes one queue.

    Attributes:
        few: ``on_change`` is called whenever at most so many items are held after one ended.
        is_lost: It has handed something out and ended without order.
    """

    def __init__(
        self,
        connection: AmqpConnection,
        deliver: Callable[[OutboxItem], None],
        monotonic: Callable[[], float],
        on_ended: Callable[[ChannelClosedError, bool], None],
        on_change: Callable[[], None],
    ) -> None:
        """Nothing is consumed yet.

        Args:
            connection: Where it is opened.
            deliver: Takes what is handed out.
            monotonic: Tells when.
            on_ended: Told why the channel ended, and whether items may be lost.
            on_change: Few items are held, or the channel has become clogged.
        """
        super().__init__(connection)
        self._deliver = deliver
        self._monotonic = monotonic
        self._on_ended = on_ended
        self._on_change = on_change
        self.few = -1
        self.is_lost = False
        self._is_draining = False
        self._items: dict[int, RabbitMqItem] = {}
        self._highest_tag = 0
        self._finished: list[int] = []
        self._waiting: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._oldest_finished = 0
        self._singles = 0
        self._consumers = 0
        self._consumer_tag = ""

    @property
    def held(self) -> int:
        """Items neither settled nor given back."""
        return len(self._items)

    @property
    def has_plenty(self) -> bool:
        """So much is held that nobody waits for more."""
        return len(self._items) > PLENTY

    @property
    def is_clogged(self) -> bool:
        """The last acknowledgements were all single ones."""
        return self._singles >= CLOGGED_AFTER

    def count_overtaken(self) -> int:
        """Items held that are older than all that ended last."""
        oldest = self._oldest_finished
        return sum(1 for _ in takewhile(lambda tag: tag < oldest, self._items))

    def bear_it(self) -> None:
        """It stays in use although it is clogged; say so again later."""
        self._singles = 0

    async def consume(self, queue: str, prefetch: int) -> None:
        """Start handing out.

        Raises:
            ChannelClosedError: No such queue, no permission, or the connection ended.
        """
        self._consumers += 1
        self._consumer_tag = f"relayq-{self._consumers}"
        globally = False  # refused by RabbitMQ 4.3, and never meant: the prefetch is this consumer's
        qos = self.call(commands.Basic.Qos(0, prefetch, globally), commands.Basic.QosOk)
        request = encode_consume(self.number, queue, self._consumer_tag)
        consuming = self.call(request, commands.Basic.ConsumeOk)
        await qos
        await consuming

    async def cancel(self) -> None:
        """Stop handing out; items stay valid.

        Raises:
            ChannelClosedError: The channel or the connection ended.
        """
        tag, self._consumer_tag = self._consumer_tag, ""
        if tag and self.is_open:
            await self.call(commands.Basic.Cancel(tag), commands.Basic.CancelOk)

    def cancel_soon(self) -> None:
        """Ask the broker to stop handing out; what is on its way still comes."""
        tag, self._consumer_tag = self._consumer_tag, ""
        if tag and self.is_open:
            self.call(commands.Basic.Cancel(tag), commands.Basic.CancelOk)

    def close_when_empty(self) -> None:
        """Close as soon as nothing is held: items handed out stay valid until then."""
        self._is_draining = True
        self.few = 0
        self._look_at_held()

    def close(self, reason: str) -> None:
        """Close the channel, acknowledging first what is finished."""
        self._acknowledge(self._highest_tag)
        super().close(reason)

    def _look_at_held(self) -> None:
        if len(self._items) > self.few:
            return
        if self._is_draining:
            self.close("no longer needed")
        else:
            self._on_change()

    def on_delivery(self, delivery: Delivery) -> None:
        """Hand a message out."""
        tag = delivery.tag
        item = RabbitMqItem(delivery.body, delivery.properties, delivery.redelivered, self._monotonic(), tag, self)
        self._items[tag] = item
        self._highest_tag = tag
        self._deliver(item)

    def finish(self, item: RabbitMqItem) -> None:
        """Acknowledge an item with the next batch; an item that is not held any more is left to the broker."""
        if self._items.pop(item.tag, None) is None:
            return
        has_plenty = self.has_plenty
        if not self._finished:
            self.connection.call_before_flush(self._write_acks, gather=has_plenty)
        elif not has_plenty:
            self.connection.send_gathered()
        self._finished.append(item.tag)
        if len(self._items) <= self.few:
            self._look_at_held()

    def requeue(self, item: RabbitMqItem) -> None:
        """Give an item back."""
        if self._items.pop(item.tag, None) is None:
            return
        item.is_held = False
        self.connection.write(encode_requeue(self.number, item.tag))
        if len(self._items) <= self.few:
            self._look_at_held()

    def _write_acks(self) -> None:
        self._acknowledge(self._highest_tag if self._is_draining or not self.has_plenty else 0)

    def _acknowledge(self, up_to: int) -> None:
        """Cover what one acknowledgement can, and write single ones up to a tag, or where too many would wait.

        Args:
            up_to: What is later may wait until it is covered.
        """
        finished, self._finished = self._finished, []
        if finished:
            self._oldest_finished = min(finished)
        finished = sorted(self._waiting + finished)
        if not self.is_open or not finished:
            return
        lowest_open = next(iter(self._items), self._highest_tag + 1)
        below = bisect_left(finished, lowest_open)
        write = self.connection.write
        if below:
            write(encode_ack(self.number, finished[below - 1], multiple=below > 1))
            self._singles = 0
        end = max(below, bisect_right(finished, up_to), len(finished) - MOST_WAITING)
        for tag in finished[below:end]:
            write(encode_ack(self.number, tag, multiple=False))
        self._singles += end - below
        self._waiting = finished[end:]
        if self._waiting and self._timer is None:
            self._timer = self.connection.loop.call_later(WAIT_SECONDS, self._wait_no_longer, self._waiting[-1])
        if self._singles >= CLOGGED_AFTER:
            self._on_change()

    def _wait_no_longer(self, up_to: int) -> None:
        """Write what waited already when the timer was set."""
        self._timer = None
        self._acknowledge(up_to)

    def before_close(self) -> None:
        """The connection is about to be closed: nothing waits any longer."""
        self._acknowledge(self._highest_tag)

    def on_method(self, method: base.Frame) -> bool:
        """The broker cancels the consumer (queue gone, node gone, consumer timeout)."""
        if isinstance(method, commands.Basic.Cancel):
            if method.consumer_tag == self._consumer_tag:
                # Its deliveries count as returned; closing the channel makes that true.
                self.close("consumer cancelled by the broker")
            return True
        return False

    def on_closed(self, error: ChannelClosedError) -> None:
        """Nothing is held any more."""
        items, self._items = self._items, {}
        for item in items.values():
            item.is_held = False
        self._finished.clear()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Also when nothing is held: what was acknowledged a moment ago may come again.
        is_orderly = self._is_draining and not items
        self.is_lost = self._highest_tag > 0 and not is_orderly
        self._on_ended(error, self.is_lost)


def is_consumer_timeout(error: ChannelClosedError) -> bool:
    """The broker closed the channel because an item was held longer than it allows (spec amqp.md 16)."""
    return error.code == PRECONDITION_FAILED and "timed out" in error.text
