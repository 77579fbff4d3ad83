"""The life of a small server on loopback: it ends with its block, whatever its connections are doing."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Self


class LoopbackServer:
    """Listens while its block lasts; `serve` is one connection.

    Attributes:
        host: Address it listens on.
        port: Its port.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """Nothing listens yet."""
        self.host = host
        self.port = port
        self._tls = tls
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What to do with a connection, which is cut afterwards; cancelled at the end of the block."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self.host, self.port, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.serve(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
