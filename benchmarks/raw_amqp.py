"""The barest AMQP 0-9-1 client that works: for the ceiling and for filling queues. No product code, no checks.

It knows one channel, durable queues, persistent messages and confirms, and breaks at the first surprise.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from pamqp import commands, frame
from pamqp.header import ProtocolHeader

# Class 60, one property flag word: content-type and delivery-mode.
PERSISTENT = struct.pack(">H", 0x9000) + b"\x10application/json" + b"\x02"


class RawAmqp(asyncio.Protocol):
    """One connection with one channel."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.on_deliver: Callable[[int, bytes], None] = lambda tag, body: None
        self.confirmed = 0  # every publish up to this one
        self.published = 0
        self.on_confirm: Callable[[], None] = lambda: None
        self._early: set[int] = set()
        self._buffer = b""
        self._replies: asyncio.Queue[Any] = asyncio.Queue()
        self._tag = 0
        self._size = 0
        self._parts: list[bytes] = []
        self._frame_max = 131072

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with the protocol header."""
        self.transport = transport
        self.transport.write(ProtocolHeader(0, 9, 1).marshal())

    def data_received(self, data: bytes) -> None:
        """Cut frames; the four that matter by hand."""
        buffer = self._buffer + data if self._buffer else data
        at, end = 0, len(buffer)
        while end - at >= 8:
            kind, _, size = struct.unpack_from(">BHI", buffer, at)
            if end - at < size + 8:
                break
            start, at = at + 7, at + size + 8
            if kind == 3:
                self._parts.append(buffer[start : start + size])
                self._size -= size
                if self._size <= 0:
                    body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                    self._parts = []
                    self.on_deliver(self._tag, body)
            elif kind == 2:
                self._size = struct.unpack_from(">Q", buffer, start + 4)[0]
            elif kind == 1:
                self._method(buffer, start, size)
            elif kind == 8:
                self.transport.write(b"\x08\0\0\0\0\0\0\xce")
        self._buffer = buffer[at:]

    def _method(self, buffer: bytes, start: int, size: int) -> None:
        which = struct.unpack_from(">HH", buffer, start)
        if which == (60, 60):
            length = buffer[start + 4]
            self._tag = struct.unpack_from(">Q", buffer, start + 5 + length)[0]
        elif which == (60, 80):
            tag, multiple = struct.unpack_from(">QB", buffer, start + 4)
            if multiple:
                self.confirmed = max(self.confirmed, tag)
            else:
                self._early.add(tag)
            while self.confirmed + 1 in self._early:
                self.confirmed += 1
                self._early.discard(self.confirmed)
            self.on_confirm()
        else:
            self._replies.put_nowait(frame.unmarshal(buffer[start - 7 : start + size + 1])[2])

    async def call(self, method: Any, channel: int = 1) -> Any:  # noqa: ANN401 - pamqp has no common type
        """Send a method and return the next method that comes."""
        self.transport.write(frame.marshal(method, channel))
        return await self._replies.get()

    async def handshake(self, user: str, password: str, vhost: str) -> None:
        """Open the connection and channel 1 in confirm mode."""
        await self._replies.get()
        await self.call(commands.Connection.StartOk({}, "PLAIN", f"\0{user}\0{password}", "en_US"), 0)
        self.transport.write(frame.marshal(commands.Connection.TuneOk(1, self._frame_max, 0), 0))
        await self.call(commands.Connection.Open(vhost), 0)
        await self.call(commands.Channel.Open())
        await self.call(commands.Confirm.Select())

    def publish_frames(self, queue: bytes, body: bytes) -> bytes:
        """Octets of one publish to the default exchange."""
        self.published += 1
        method = struct.pack(">HHHBB", 60, 40, 0, 0, len(queue)) + queue + b"\0"
        header = struct.pack(">HHQ", 60, 0, len(body)) + PERSISTENT
        out = [
            struct.pack(">BHI", 1, 1, len(method)),
            method,
            b"\xce",
            struct.pack(">BHI", 2, 1, len(header)),
            header,
            b"\xce",
        ]
        limit = self._frame_max - 8
        for at in range(0, len(body), limit):
            part = body[at : at + limit]
            out += (struct.pack(">BHI", 3, 1, len(part)), part, b"\xce")
        return b"".join(out)

    def ack_frame(self, tag: int, multiple: bool) -> bytes:
        """Octets of one acknowledgement."""
        return struct.pack(">BHIHHQBB", 1, 1, 13, 60, 80, tag, multiple, 0xCE)


async def connect(host: str, port: int, user: str = "guest", password: str = "guest", vhost: str = "/") -> RawAmqp:  # noqa: S107
    """An open connection."""
    loop = asyncio.get_running_loop()
    _, amqp = await loop.create_connection(RawAmqp, host, port)
    await amqp.handshake(user, password, vhost)
    return amqp


async def declare(amqp: RawAmqp, *queues: str) -> None:
    """Durable classic queues."""
    for queue in queues:
        await amqp.call(commands.Queue.Declare(queue=queue, durable=True))


async def depth(amqp: RawAmqp, queue: str) -> int:
    """Messages ready in a queue."""
    reply = await amqp.call(commands.Queue.Declare(queue=queue, passive=True))
    return int(reply.message_count)


async def consumers(amqp: RawAmqp, queue: str) -> int:
    """Who consumes a queue."""
    reply = await amqp.call(commands.Queue.Declare(queue=queue, passive=True))
    return int(reply.consumer_count)


async def fill(amqp: RawAmqp, queue: str, bodies: Callable[[int], bytes], count: int, window: int = 500) -> None:
    """Publish ``bodies(0)`` … ``bodies(count - 1)``, at most ``window`` unconfirmed at a time."""
    progress = asyncio.Event()
    amqp.on_confirm = progress.set
    start = amqp.confirmed
    for number in range(count):
        amqp.transport.write(amqp.publish_frames(queue.encode(), bodies(number)))
        while number - (amqp.confirmed - start) >= window:
            progress.clear()
            await progress.wait()
    while amqp.confirmed - start < count:
        progress.clear()
        await progress.wait()
