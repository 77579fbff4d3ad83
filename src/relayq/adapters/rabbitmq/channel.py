"""One channel of a connection: calls and their replies, and how it ends.

Consumers and publishers derive from it and say what their frames mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from pamqp import base, commands

from relayq.adapters.rabbitmq.errors import ChannelClosedError, ConnectionLostError, ProtocolError
from relayq.adapters.rabbitmq.frames import Confirm, Delivery, Returned, encode_method

if TYPE_CHECKING:
    from relayq.adapters.rabbitmq.connection import AmqpConnection

M = TypeVar("M", bound=base.Frame)

REPLY_SUCCESS = 200
LONGEST_TEXT = 500


class Channel:
    """One channel; subclasses override what they care about.

    Calls of one channel are answered in the order they were made. After `closed` nothing else is called.
    """

    def __init__(self, connection: AmqpConnection) -> None:
        self.connection = connection
        self.number = connection.new_channel_number()
        self.is_open = False
        self.is_flow_active = True
        self._calls: deque[tuple[type[base.Frame], asyncio.Future[base.Frame]]] = deque()

    async def open(self) -> None:
        """Open the channel.

        Raises:
            ChannelClosedError: The broker or the connection ended it.
        """
        self.connection.add_channel(self)
        self.is_open = True
        await self.call(commands.Channel.Open(), commands.Channel.OpenOk)

    def call(self, request: base.Frame | bytes, expected: type[M]) -> asyncio.Future[M]:
        """Send a method and return the future of its reply; fails with `ChannelClosedError`."""
        future: asyncio.Future[Any] = self.connection.loop.create_future()
        if not self.is_open or self.connection.lost.done():
            future.set_exception(ChannelClosedError(0, "channel is closed"))
            future.exception()  # a caller that sends several requests may look at the first reply only
            return future
        self._calls.append((expected, future))
        self.connection.write(request if isinstance(request, bytes) else encode_method(self.number, request))
        return future

    def close(self, reason: str) -> None:
        """Close the channel; its number is not used again before the broker has answered."""
        if self.is_open:
            self.connection.write(encode_method(self.number, commands.Channel.Close(REPLY_SUCCESS, "done", 0, 0)))
            self._end(ChannelClosedError(0, reason))

    def take_method(self, method: base.Frame) -> None:
        """A method of the broker for this channel.

        Raises:
            ProtocolError: Nobody waits for it.
        """
        if isinstance(method, commands.Channel.Close):
            self.connection.write(encode_method(self.number, commands.Channel.CloseOk()))
            self._end(ChannelClosedError(method.reply_code or 0, printable(method.reply_text)))
        elif isinstance(method, commands.Channel.Flow):
            self.is_flow_active = bool(method.active)
            self.connection.write(encode_method(self.number, commands.Channel.FlowOk(self.is_flow_active)))
            self.on_flow_changed()
        elif self._calls and isinstance(method, self._calls[0][0]):
            future = self._calls.popleft()[1]
            if not future.done():
                future.set_result(method)
        elif not self.on_method(method):
            raise ProtocolError(f"unexpected {method.name} on channel {self.number}")

    def connection_lost(self, error: ConnectionLostError) -> None:
        """The connection below ended."""
        self._end(ChannelClosedError(error.code, str(error)))

    def _end(self, error: ChannelClosedError) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self.connection.drop_channel(self)
        calls, self._calls = self._calls, deque()
        for _, future in calls:
            if not future.done():
                future.set_exception(error)
                # Whoever waits learns it; that nobody waits any more must not cause a report.
                future.exception()
        self.on_closed(error)

    def on_delivery(self, delivery: Delivery) -> None:
        """A consumed message."""

    def on_confirm(self, confirm: Confirm) -> None:
        """A confirm of a publish."""

    def on_returned(self, returned: Returned) -> None:
        """A mandatory publish came back."""

    def on_method(self, method: base.Frame) -> bool:
        """A method that answers nothing; ``False`` when it is not expected here."""
        return False

    def on_flow_changed(self) -> None:
        """The transport, the broker (``connection.blocked``) or ``channel.flow`` stopped or resumed us."""

    def before_close(self) -> None:
        """The connection is about to be closed in order: what is to be said has to be written now."""

    def on_closed(self, error: ChannelClosedError) -> None:
        """The channel ended, by whatever reason."""


def printable(text: str | None) -> str:
    """Text of the broker for our log: one line, bounded."""
    return "".join(char if char.isprintable() else " " for char in (text or "")[:LONGEST_TEXT])
