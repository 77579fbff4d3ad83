"""The socket between supervisor and worker: messages in order, each behind its length, encoded as MessagePack.

Whatever is said within one turn of the event loop leaves in one write. Neither side trusts the other with its memory: a
message has a greatest length, and what cannot be written while the other side does not read has a bound too.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec

MAX_MESSAGE_BYTES = 16 << 20
MAX_WAITING_BYTES = 32 << 20
"""Unwritten octets at which the other side is given up."""
DROPPING_BYTES = 1 << 20
"""Unwritten octets at which what may be left out is left out."""

_LENGTH = struct.Struct(">I")

T = TypeVar("T")


class ChannelError(Exception):
    """The other side does not keep to the rules, or does not read."""


class Channel(asyncio.Protocol, Generic[T]):
    """One end. ``T`` is what it receives."""

    def __init__(
        self,
        receives: Any,  # noqa: ANN401 - a union is no type to Python
        on_message: Callable[[T], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        """Not yet connected.

        Args:
            receives: The type ``T``, for decoding.
            on_message: Called with each message; must not block.
            on_end: Called once when the other side is gone, with the reason if it was no orderly end.
        """
        self._decoder = msgspec.msgpack.Decoder(receives)
        self._encoder = msgspec.msgpack.Encoder()
        self._on_message = on_message
        self._on_end = on_end
        self._buffer = bytearray()
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self.dropped = 0

    async def open(self, end: socket.socket) -> None:
        """Begin; ``end`` belongs to the channel from now on."""
        await self._loop.create_connection(lambda: self, sock=end)

    @property
    def is_over(self) -> bool:
        """The other side is gone, or we are."""
        return self._is_over

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, message: msgspec.Struct, *, may_be_dropped: bool = False) -> None:
        """Queue a message; nothing happens any more once the other side is gone.

        Args:
            message: One of the types the other side receives.
            may_be_dropped: Leave it out, and count that, while the other side is slow to read.
        """
        if self._is_over:
            return
        waiting = self._outgoing_bytes
        if self._transport is not None:
            waiting += self._transport.get_write_buffer_size()
        if may_be_dropped and waiting > DROPPING_BYTES:
            self.dropped += 1
            return
        encoded = self._encoder.encode(message)
        if waiting + len(encoded) > MAX_WAITING_BYTES:
            self._end(ChannelError("the other side does not read"))
            return
        if not self._outgoing:
            self._loop.call_soon(self.flush)
        self._outgoing += (_LENGTH.pack(len(encoded)), encoded)
        self._outgoing_bytes += len(encoded)

    def flush(self) -> None:
        """Write what is queued, as soon as there is a socket to write to."""
        if self._transport is not None and self._outgoing and not self._is_over:
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()
            self._outgoing_bytes = 0

    def close(self) -> None:
        """Write what is queued, then end."""
        self.flush()
        self._is_over = True
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is in the hands of the loop."""
        self._transport = cast(asyncio.Transport, transport)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Cut out messages."""
        self._buffer += data
        while not self._is_over and (encoded := self._next()) is not None:
            try:
                message = self._decoder.decode(encoded)
            except msgspec.MsgspecError as error:
                self._end(error)
            else:
                self._on_message(message)

    def _next(self) -> bytes | None:
        """The next complete message."""
        buffer = self._buffer
        if len(buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(buffer)
        if length > MAX_MESSAGE_BYTES:
            self._end(ChannelError(f"a message of {length} octets"))
            return None
        end = _LENGTH.size + length
        if len(buffer) < end:
            return None
        encoded = bytes(buffer[_LENGTH.size : end])
        del buffer[:end]
        return encoded

    def eof_received(self) -> bool:
        """The other side has said all."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone, or we are."""
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()
        self._on_end(error)
