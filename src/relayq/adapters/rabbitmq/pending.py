"""A publication on its way, and what it looks like on the wire."""

from __future__ import annotations

import asyncio
import gzip
from bisect import bisect_left

import msgspec

from relayq.adapters.rabbitmq.consumer import RabbitMqItem
from relayq.adapters.rabbitmq.options import RabbitMqOptions
from relayq.adapters.rabbitmq.properties import CACHED_BLOCKS, LONGEST_CACHED_BLOCK, encode_properties
from relayq.adapters.rabbitmq.topology import BrokerVersion, delay_ladder, delay_queue, parse_version
from relayq.ports import BrokerError, Clock, Properties, Publication

FALLBACK_SECONDS = 60
"""Delay of a message whose parking queue cannot be used."""

# Fast: a higher level costs more time than it saves traffic on bodies of some kilobytes.
GZIP_LEVEL = 1


class Settlement(msgspec.Struct, eq=False):
    """Publications that end together.

    Attributes:
        remaining: How many are neither confirmed nor given up.
        item: Acknowledged after the last of them, ``None`` when nothing was consumed.
    """

    future: asyncio.Future[None]
    remaining: int
    item: RabbitMqItem | None

    def one_done(self) -> None:
        """One publication is confirmed or given up."""
        self.remaining -= 1
        if self.remaining:
            return
        item = self.item
        if item is not None:
            item.channel.finish(item)
        if not self.future.done():
            self.future.set_result(None)


class PendingPublish(msgspec.Struct, eq=False):
    """One publication on its way.

    Attributes:
        body: As published, perhaps compressed.
        due: Monotonic instant before which it is not to come back. The wall clock may be set while it waits here.
        queue: Routing key of the last publish; a delayed copy goes to a delay queue.
        block: Encoded properties of the last publish.
        sent_at: When it was last published, by the clock of the event loop.
        is_uncertain: It was published before and the broker did not say whether it has it.
        tries: How often it had to wait before it was published again.
        is_unparkable: Its parking queue cannot be used: it takes a delay queue instead.
    """

    publication: Publication
    settlement: Settlement
    body: bytes
    due: float = 0.0
    queue: str = ""
    block: bytes = b""
    sent_at: float = 0.0
    tries: int = 0
    is_uncertain: bool = False
    is_compressed: bool = False
    is_returned: bool = False
    was_redeclared: bool = False
    is_unparkable: bool = False

    def compress(self) -> None:
        """From now on the body is published as gzip."""
        self.body = gzip.compress(self.body, GZIP_LEVEL, mtime=0)
        self.is_compressed = True

    def fail(self, error: BrokerError) -> None:
        """Nobody will publish it any more."""
        if not self.settlement.future.done():
            self.settlement.future.set_exception(error)


class MessageEncoder:
    """Chooses the queue and encodes the properties of what is published.

    Attributes:
        version: Of the broker in use.
    """

    def __init__(self, options: RabbitMqOptions, clock: Clock) -> None:
        self.version: BrokerVersion = parse_version({})
        self._options = options
        self._clock = clock
        self._ladder = delay_ladder(options.delay_intervals)
        self._delay_queues = tuple(delay_queue(options.outbox, seconds) for seconds in self._ladder)
        self._delay_prefix = f"{options.outbox}.delay."
        self._blocks: dict[Properties, bytes] = {}
        self._latest: tuple[Properties | None, bytes] = (None, b"")

    def reconfigure(self, options: RabbitMqOptions) -> None:
        """Other options for what is encoded from now on."""
        self._options = options
        self._blocks.clear()
        self._latest = (None, b"")

    def queue_for(self, pending: PendingPublish) -> str:
        """Where a publication goes now."""
        publication = pending.publication
        if publication.parking is not None:
            outbox = self._options.outbox
            if pending.is_unparkable or not self._options.declare:
                return delay_queue(outbox, FALLBACK_SECONDS)
            return publication.parking.queue(outbox)
        return publication.queue if publication.due_at is None else self._delay_queue(pending)

    def _delay_queue(self, pending: PendingPublish) -> str:
        """The largest N below the seconds left + 1 (spec amqp.md 10)."""
        left = pending.due - self._clock.monotonic()
        if left < 1:
            return pending.publication.queue
        return self._delay_queues[bisect_left(self._ladder, left + 1) - 1]

    def block(self, pending: PendingPublish, queue: str) -> bytes:
        """Property block of a publish to ``queue``; compresses the body when that is asked for."""
        properties, copy_id = pending.publication.properties, pending.publication.copy_id
        is_delayed = queue.startswith(self._delay_prefix)
        has_priority = not (is_delayed and self._drops_delay_priority())
        if pending.publication.is_verbatim:
            return self._encode(properties, properties.content_encoding, has_priority=has_priority, copy_id=copy_id)
        if self._options.gzip and not pending.is_compressed:
            pending.compress()
        if pending.is_compressed or not has_priority or copy_id:
            encoding = "gzip" if pending.is_compressed else None
            return self._encode(properties, encoding, has_priority=has_priority, copy_id=copy_id)
        if properties is self._latest[0]:  # of the same message, or one like it: the digest of a record costs more
            return self._latest[1]
        block = self._blocks.get(properties)
        if block is None:
            block = self._encode(properties, None, has_priority=True)
            if len(block) <= LONGEST_CACHED_BLOCK:
                if len(self._blocks) >= CACHED_BLOCKS:
                    self._blocks.clear()
                self._blocks[properties] = block
        self._latest = (properties, block)
        return block

    def _encode(
        self, properties: Properties, encoding: str | None, *, has_priority: bool, copy_id: bytes = b""
    ) -> bytes:
        persistent = self._options.persistent or properties.persistent
        return encode_properties(
            properties,
            persistent=persistent,
            content_encoding=encoding,
            has_priority=has_priority,
            copy_id=copy_id,
        )

    def _drops_delay_priority(self) -> bool:
        return self._options.queue_type == "quorum" and self.version.has_two_priority_classes
