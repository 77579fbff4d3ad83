"""One AMQP connection over TCP or TLS: negotiation, heartbeats, writing in batches, close codes.

Knows nothing about reconnecting, queues or messages. Everything written during one turn of the event loop leaves in
one piece at its end; channels that batch (acknowledgements) add theirs right before that. What may wait a moment for
more is gathered over several turns: each piece wakes several processes in the broker, whatever is in it.
"""

from __future__ import annotations

import asyncio
import platform
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from pamqp import base, commands

from relayq import __version__
from relayq.adapters.rabbitmq.channel import REPLY_SUCCESS, Channel, printable
from relayq.adapters.rabbitmq.errors import (
    ACCESS_REFUSED,
    NOT_ALLOWED,
    ConnectionLostError,
    ConnectionRefusedByBrokerError,
    ProtocolError,
)
from relayq.adapters.rabbitmq.frames import (
    DEFAULT_FRAME_MAX,
    HEARTBEAT,
    PROTOCOL_HEADER,
    Confirm,
    Delivery,
    FrameParser,
    Method,
    encode_connection_open,
    encode_method,
)
from relayq.adapters.rabbitmq.options import Endpoint

M = TypeVar("M", bound=base.Frame)

# More than a broker proposes by default (128 KiB) gains nothing and lets it claim memory here.
LARGEST_FRAME_MAX = 1024 * 1024
LARGEST_CHANNEL_MAX = 65_535
WRITE_HIGH_WATER = 1024 * 1024
WRITE_LOW_WATER = 256 * 1024
GATHER_SECONDS = 0.005
"""How long octets may wait for more that can leave with them."""
# A peer is lost after two intervals without an octet (AMQP 0-9-1 §4.2.7); looked at twice per interval.
SILENT_TICKS = 4

CAPABILITIES = {
    "publisher_confirms": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class AmqpConnection(asyncio.Protocol):
    """One connection. `open` makes it usable, `lost` is done once it is over.

    Attributes:
        server_properties: What the broker told about itself.
        frame_max: As negotiated.
        is_paused: The transport asks for no more data now.
        is_blocked: The broker takes no publishes on this connection now.
        lost: Its result is the reason the connection ended; never an exception.
    """

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self.endpoint = endpoint
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.server_properties: dict[str, Any] = {}
        self.frame_max = DEFAULT_FRAME_MAX
        self.is_paused = False
        self.is_blocked = False
        self.lost: asyncio.Future[ConnectionLostError] = self.loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._parser = FrameParser()
        self._channels: dict[int, Channel] = {}
        self._channel_max = LARGEST_CHANNEL_MAX
        self._last_channel = 0
        self._handshake: deque[base.Frame] = deque()
        self._handshake_waiter: asyncio.Future[None] | None = None
        self._out: list[bytes | memoryview] = []
        self._before_flush: list[Callable[[], None]] = []
        self._is_flush_planned = False
        self._gathering: asyncio.TimerHandle | None = None
        self._reason: ConnectionLostError | None = None
        self._is_closing = False
        self._has_received = False
        self._has_sent = False
        self._silent_ticks = 0
        self._heartbeat_timer: asyncio.TimerHandle | None = None

    # Negotiation

    async def open(self) -> None:
        """Log in and open the virtual host.

        Raises:
            ConnectionRefusedByBrokerError: Credentials or virtual host not accepted.
            ConnectionLostError: The connection ended, or the peer speaks something else.
        """
        start = await self._next_handshake(commands.Connection.Start)
        self.server_properties = dict(start.server_properties or {})
        if "PLAIN" not in str(start.mechanisms or "").split():
            raise ConnectionRefusedByBrokerError(f"{self.endpoint} does not offer the PLAIN mechanism")
        self.write(encode_method(0, self._start_ok()))
        tune = await self._next_handshake(commands.Connection.Tune)
        self._apply_tune(tune)
        self.write(encode_connection_open(self.endpoint.vhost))
        await self._next_handshake(commands.Connection.OpenOk)

    def _start_ok(self) -> base.Frame:
        properties: dict[str, Any] = {
            "product": "relayq",
            "version": __version__,
            "platform": f"Python {platform.python_version()}",
            "connection_name": self.name,
            "capabilities": CAPABILITIES,
        }
        response = f"\0{self.endpoint.user}\0{self.endpoint.password}"
        return commands.Connection.StartOk(properties, "PLAIN", response, "en_US")

    def _apply_tune(self, tune: commands.Connection.Tune) -> None:
        self.frame_max = min(tune.frame_max or DEFAULT_FRAME_MAX, LARGEST_FRAME_MAX)
        self._parser.frame_max = self.frame_max
        ours, theirs = self.endpoint.heartbeat, tune.heartbeat or 0
        heartbeat = min(ours, theirs) if ours and theirs else max(ours, theirs)
        self._channel_max = tune.channel_max or LARGEST_CHANNEL_MAX
        self.write(encode_method(0, commands.Connection.TuneOk(self._channel_max, self.frame_max, heartbeat)))
        if heartbeat:
            self._heartbeat(heartbeat / 2)

    async def _next_handshake(self, expected: type[M]) -> M:
        while not self._handshake:
            if self._reason is not None:
                raise self._reason
            self._handshake_waiter = self.loop.create_future()
            await self._handshake_waiter
        method = self._handshake.popleft()
        if not isinstance(method, expected):
            raise ConnectionLostError(f"{self.endpoint} answered {method.name} where {expected.name} was due")
        return method

    def _wake_handshake(self) -> None:
        if self._handshake_waiter is not None and not self._handshake_waiter.done():
            self._handshake_waiter.set_result(None)

    # Channels

    def add_channel(self, channel: Channel) -> None:
        """Route the frames of a channel's number to it."""
        self._channels[channel.number] = channel

    def drop_channel(self, channel: Channel) -> None:
        """Forget a closed channel; what still arrives for it is dropped."""
        if self._channels.get(channel.number) is channel:
            del self._channels[channel.number]

    def new_channel_number(self) -> int:
        """A channel number not in use, and not used lately: frames for its last owner may still be on their way.

        Raises:
            ConnectionLostError: All are in use.
        """
        for _ in range(self._channel_max):
            self._last_channel = self._last_channel % self._channel_max + 1
            if self._last_channel not in self._channels:
                return self._last_channel
        raise ConnectionLostError(f"all {self._channel_max} channels are in use")

    # Writing

    def write(self, octets: bytes) -> None:
        """Send with everything else of this loop turn."""
        self._out.append(octets)
        self._plan_flush()

    def write_pieces(self, pieces: Iterable[bytes | memoryview], *, gather: bool = False) -> None:
        """Like `write`, for octets in pieces; with ``gather`` they may wait for others for a moment."""
        self._out += pieces
        self._plan_flush(gather=gather)

    def call_before_flush(self, callback: Callable[[], None], *, gather: bool = False) -> None:
        """Call ``callback`` once, right before octets leave, at the end of this loop turn or after a moment.

        It may `write`.
        """
        self._before_flush.append(callback)
        self._plan_flush(gather=gather)

    def send_gathered(self) -> None:
        """What waits for others need not do so any longer."""
        if self._gathering is not None:
            self._plan_flush()

    def _plan_flush(self, *, gather: bool = False) -> None:
        if self._is_flush_planned:
            return
        if not gather:
            self._is_flush_planned = True
            self.loop.call_soon(self._flush)
        elif self._gathering is None:
            self._gathering = self.loop.call_later(GATHER_SECONDS, self._flush)

    def _flush(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._is_flush_planned = True  # what is written by those who are called leaves with the rest
        if self._before_flush:
            callbacks, self._before_flush = self._before_flush, []
            for callback in callbacks:
                callback()
        self._is_flush_planned = False
        out = self._out
        if out and self._transport is not None:
            self._has_sent = True
            self._transport.write(b"".join(out))
        out.clear()

    # Transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the broker."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH_WATER, WRITE_LOW_WATER)
        self._transport.write(PROTOCOL_HEADER)

    def data_received(self, data: bytes) -> None:
        """Hand received messages, confirms and methods to their channels."""
        self._has_received = True
        if self._reason is not None:
            return
        try:
            events = self._parser.feed(data)
            channels = self._channels
            for event in events:
                kind = type(event)
                channel = channels.get(event.channel)
                if channel is None:
                    self._take_without_channel(event)
                elif kind is Delivery:
                    channel.on_delivery(event)  # type: ignore[arg-type]
                elif kind is Confirm:
                    channel.on_confirm(event)  # type: ignore[arg-type]
                elif kind is Method:
                    channel.take_method(event.method)  # type: ignore[union-attr]
                else:
                    channel.on_returned(event)  # type: ignore[arg-type]
        except ProtocolError as error:
            self.abort(f"{self.endpoint} broke the protocol: {error}")

    def _take_without_channel(self, event: object) -> None:
        if not isinstance(event, Method) or event.channel:
            return  # for a channel that is closed, sent before the broker knew
        method = event.method
        if isinstance(method, commands.Connection.Close):
            self._take_close(method)
        elif isinstance(method, commands.Connection.Blocked | commands.Connection.Unblocked):
            self.is_blocked = isinstance(method, commands.Connection.Blocked)
            self._report_flow()
        elif isinstance(method, commands.Connection.CloseOk):
            self._lose(ConnectionLostError("closed"))
        else:
            self._handshake.append(method)
            self._wake_handshake()

    def _take_close(self, close: commands.Connection.Close) -> None:
        code, text = close.reply_code or 0, printable(close.reply_text)
        self.write(encode_method(0, commands.Connection.CloseOk()))
        self._flush()
        # 530 is also the answer to a full or stopped virtual host, which passes.
        is_temporary = "limit" in text or "down" in text
        is_refusal = code == ACCESS_REFUSED or (code == NOT_ALLOWED and not is_temporary)
        kind = ConnectionRefusedByBrokerError if is_refusal else ConnectionLostError
        self._lose(kind(f"{self.endpoint} closed the connection: {code} {text}", code))

    def _report_flow(self) -> None:
        for channel in tuple(self._channels.values()):
            channel.on_flow_changed()

    def pause_writing(self) -> None:
        """Called by the transport while too much is unsent."""
        self.is_paused = True
        self._report_flow()

    def resume_writing(self) -> None:
        """Called by the transport when it takes data again."""
        self.is_paused = False
        self._report_flow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport at the end."""
        text = f"{self.endpoint} closed the connection" if exc is None else f"connection to {self.endpoint} lost: {exc}"
        self._lose(ConnectionLostError(text))

    # Ending

    def _heartbeat(self, interval: float) -> None:
        if self._reason is not None:
            return
        self._silent_ticks = 0 if self._has_received else self._silent_ticks + 1
        if self._silent_ticks >= SILENT_TICKS:
            self.abort(f"{self.endpoint} was silent for {interval * SILENT_TICKS:g} s")
            return
        if not self._has_sent:
            self.write(HEARTBEAT)
            self._flush()
        self._has_received = self._has_sent = False
        self._heartbeat_timer = self.loop.call_later(interval, self._heartbeat, interval)

    def abort(self, text: str) -> None:
        """End the connection at once; ``text`` is the reason."""
        self._lose(ConnectionLostError(text))

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - an orderly end has one, not a caller's choice
        """End the connection in order, within ``timeout`` seconds."""
        if self._reason is None and not self._is_closing:
            self._is_closing = True
            for channel in tuple(self._channels.values()):
                channel.before_close()
            self._flush()  # what is batched must not come after the close: the broker would not look at it
            self.write(encode_method(0, commands.Connection.Close(REPLY_SUCCESS, "done", 0, 0)))
        await asyncio.wait((self.lost,), timeout=timeout)
        self._lose(ConnectionLostError("closed"))

    def _lose(self, reason: ConnectionLostError) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        for timer in (self._heartbeat_timer, self._gathering):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            # What is still unsent has no reader: the broker ended it, or is silent.
            if reason.code:
                self._transport.close()
            else:
                self._transport.abort()
            self._transport = None
        for channel in tuple(self._channels.values()):
            channel.connection_lost(reason)
        self._wake_handshake()
        self.lost.set_result(reason)
