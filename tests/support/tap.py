"""A relay on loopback that keeps every octet as it was on the wire: what was said in clear cannot hide from it."""

from __future__ import annotations

import asyncio

from tests.support.loopback_server import LoopbackServer


class Tap(LoopbackServer):
    """Listens on one port, passes everything on to another.

    Attributes:
        sent: Octets of each client, in the order of their connections.
        answered: What each was answered.
    """

    def __init__(self, host: str, port: int, server_port: int) -> None:
        super().__init__(host, port)
        self.sent: list[bytearray] = []
        self.answered: list[bytearray] = []
        self._server_port = server_port

    @property
    def in_clear(self) -> bytes:
        """Everything clients sent, as somebody on the wire could read it."""
        return b"".join(self.sent)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on both ways."""
        sent, answered = bytearray(), bytearray()
        self.sent.append(sent)
        self.answered.append(answered)
        behind_reader, behind = await asyncio.open_connection(self.host, self._server_port)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, behind, sent))
                pumps.create_task(_pump(behind_reader, writer, answered))
        finally:
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
