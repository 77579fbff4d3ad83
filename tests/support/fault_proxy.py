"""A TCP proxy between two parties that makes the line between them bad, and good again."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK_OCTETS = 65_536
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: the next close sends a reset


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a line; the default is nothing.

    Attributes:
        latency: Seconds by which each chunk is late.
        slice_octets: Chunks are cut into pieces of this size; 0 leaves them whole.
        octets_per_second: Of each direction; 0 is unlimited.
        reset_after: Seconds after which each connection is reset; 0 is never.
        swallows_answers: What the server says is lost; what it is told arrives.
        is_silent: Nothing passes in either direction, connections stay open and new ones are accepted.
        is_closed: New connections are reset at once, and so are those that exist.
    """

    latency: float = 0.0
    slice_octets: int = 0
    octets_per_second: float = 0.0
    reset_after: float = 0.0
    swallows_answers: bool = False
    is_silent: bool = False
    is_closed: bool = False


HEALTHY = Fault()


class FaultProxy:
    """Listens on a free port of loopback and passes on to ``(host, port)``; use it as a context manager.

    Attributes:
        port: Where to connect.
        connections: How many have been accepted so far.
    """

    def __init__(self, host: str, port: int, fault: Fault = HEALTHY) -> None:
        self.port = 0
        self.connections = 0
        self._target = (host, port)
        self._fault = fault
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = tuple(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def become(self, fault: Fault) -> None:
        """Change the line, also under connections that exist.

        Those that were mute are reset: the packets of a line that comes back find a peer that has given up.
        """
        was, self._fault = self._fault, fault
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.is_closed or was.is_silent or was.swallows_answers:
            for writer in self._open.values():
                _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            await self._serve(reader, writer)
        except* (OSError, asyncio.CancelledError):
            _reset(writer)  # a line that broke, or a proxy that ends: nobody's error
        finally:
            del self._open[task]
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault.is_closed:
            _reset(writer)
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.timeout(self._fault.reset_after or None):
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(reader, far_writer, is_answer=False))
                    both.create_task(self._pass_on(far_reader, writer, is_answer=True))
        finally:
            _reset(far_writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        while chunk := await reader.read(CHUNK_OCTETS):
            while self._fault.is_silent:
                await self._changed.wait()
            fault = self._fault
            if fault.swallows_answers and is_answer:
                continue
            if fault.latency:
                await asyncio.sleep(fault.latency)
            size = fault.slice_octets or len(chunk)
            for start in range(0, len(chunk), size):
                piece = chunk[start : start + size]
                if writer.is_closing():
                    return
                writer.write(piece)
                await writer.drain()
                if fault.octets_per_second:
                    await asyncio.sleep(len(piece) / fault.octets_per_second)
                elif fault.slice_octets:
                    await asyncio.sleep(0)
        if not writer.is_closing() and writer.can_write_eof():
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash of its peer does, with a reset instead of an orderly end."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        writer.transport.abort()
