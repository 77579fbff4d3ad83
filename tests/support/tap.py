"""A relay on loopback that keeps every octet as it was on the wire: what was said in clear cannot hide from it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Tap:
    """Listens on one port, passes everything on to another.

    Attributes:
        sent: Octets of each client, in the order of their connections.
        answered: What each was answered.
    """

    def __init__(self, host: str, port: int, server_port: int) -> None:
        self.sent: list[bytearray] = []
        self.answered: list[bytearray] = []
        self._host = host
        self._port = port
        self._server_port = server_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def in_clear(self) -> bytes:
        """Everything clients sent, as somebody on the wire could read it."""
        return b"".join(self.sent)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        sent, answered = bytearray(), bytearray()
        self.sent.append(sent)
        self.answered.append(answered)
        behind_reader, behind = await asyncio.open_connection(self._host, self._server_port)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, behind, sent))
                pumps.create_task(_pump(behind_reader, writer, answered))
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            behind.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, memory: bytearray) -> None:
    try:
        while octets := await source.read(65_536):
            memory += octets
            target.write(octets)
            await target.drain()
        target.write_eof()
    except (ConnectionError, OSError, RuntimeError):
        target.transport.abort()
