"""Draining: a consumer that is there for as long as a parking queue has messages (spec amqp.md 11)."""

from __future__ import annotations

import asyncio

from pamqp import commands

from relayq.adapters.rabbitmq.consumer import ConsumerChannel
from relayq.adapters.rabbitmq.consumption import Feed
from relayq.adapters.rabbitmq.errors import NOT_FOUND, ChannelClosedError, ConnectionLostError
from relayq.adapters.rabbitmq.frames import encode_queue_declare


class Drain:
    """One drain of one parking queue, on a channel of its own."""

    def __init__(self, feed: Feed, prefetch: int) -> None:
        self._feed = feed
        self._home = feed.home
        self._prefetch = prefetch
        self._ended = asyncio.Event()

    async def run(self) -> bool:
        """See `relayq.ports.Broker.drain`."""
        connection = await self._home.link.up()
        channel = ConsumerChannel(
            connection, self._feed.deliver, self._home.clock.monotonic, self._channel_ended, self._nothing_to_do
        )
        try:
            await channel.open()
            if await self._count(channel) == 0:
                return True
            await channel.consume(self._feed.queue, self._prefetch)
            return await self._until_empty(channel)
        except ChannelClosedError as error:
            if error.code == NOT_FOUND:
                return True  # expired, or nothing was ever parked in it
            self._home.log("warning", f"parking queue {self._feed.queue!r} cannot be drained now: {error}")
            return False
        except ConnectionLostError:
            return False
        finally:
            _let_go(channel)

    async def _until_empty(self, channel: ConsumerChannel) -> bool:
        """Look now and then, and only while the queue gave less than it was asked for: the broker tells no such end."""
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(self._home.options.timings.drain_check):
                    await self._ended.wait()
            except TimeoutError:
                if channel.held < self._prefetch and await self._count(channel) == 0:
                    return True
        return False

    async def _count(self, channel: ConsumerChannel) -> int:
        """Messages in the queue that are not handed out."""
        request = encode_queue_declare(channel.number, self._feed.queue, passive=True, durable=False, arguments={})
        answer = await channel.call(request, commands.Queue.DeclareOk)
        return answer.message_count or 0

    def _channel_ended(self, _error: ChannelClosedError, lost_items: int) -> None:
        self._ended.set()
        if lost_items:
            self._feed.on_items_lost()

    def _nothing_to_do(self) -> None:
        """A drain ends by itself: neither how few items are held nor that some stay decides anything here."""


def _let_go(channel: ConsumerChannel) -> None:
    """Take nothing more, and close the channel when what was handed out is settled; does not wait for either."""
    if channel.is_open:
        channel.cancel_soon()
        channel.close_when_empty()
