"""A small proxy on a loopback address: CONNECT or SOCKS 5, with or without login, or whatever a broken one would do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress

from tests.support.loopback_server import LoopbackServer
from tests.support.ports import free_port
from tests.support.web_server import Script


class ProxyServer(LoopbackServer):
    """Tunnels to where it is told.

    Attributes:
        asked: Address and port of every tunnel asked for, oldest first.
        heads: Heads of the requests of CONNECT, oldest first.
        connections: How many there have been.
    """

    def __init__(
        self,
        scheme: str = "http",
        *,
        login: tuple[str, str] | None = None,
        script: Script | None = None,
        refuses: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        """Nothing listens yet.

        Args:
            scheme: ``http`` or ``socks``.
            login: User name and password it wants.
            script: What it does instead of being a proxy, for ``http`` once it has the head of the request.
            refuses: Addresses it gives no tunnel to.
            host: Address to listen on.
        """
        super().__init__(host, free_port(host))
        self.asked: list[tuple[str, int]] = []
        self.heads: list[str] = []
        self.connections = 0
        self._scheme = scheme
        self._login = login
        self._script = script
        self._refuses = refuses

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request for a tunnel, and be that tunnel."""
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if self._script is not None:
                if self._scheme == "http":
                    await reader.readuntil(b"\r\n\r\n")
                await self._script(writer)
            elif self._scheme == "http":
                await self._serve_http(reader, writer)
            else:
                await self._serve_socks(reader, writer)

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        method, target, _ = head.partition("\r\n")[0].split(" ")
        assert method == "CONNECT"
        host, _, port = target.rpartition(":")
        self.asked.append((host.strip("[]"), int(port)))
        if self._login is not None:
            login = base64.b64encode(":".join(self._login).encode()).decode()
            if f"Proxy-Authorization: Basic {login}\r\n" not in head:
                writer.write(b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
                await writer.drain()
                return
        answer = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n"
        await self._tunnel(reader, writer, answer, b"HTTP/1.1 502 Bad gateway\r\n\r\n")

    async def _serve_socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = 0 if self._login is None else 2
        assert version == 5
        if wanted not in methods:
            writer.write(b"\x05\xff")
            await writer.drain()
            return
        writer.write(bytes((5, wanted)))
        if self._login is not None:
            assert await reader.readexactly(1) == b"\x01"
            given = [(await reader.readexactly((await reader.readexactly(1))[0])).decode() for _ in range(2)]
            writer.write(b"\x01\x00" if tuple(given) == self._login else b"\x01\x01")
        version, command, _, kind = await reader.readexactly(4)
        assert (version, command) == (5, 1)
        assert kind in {1, 4}, "an address, never a name"
        address = ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16))
        self.asked.append((str(address), int.from_bytes(await reader.readexactly(2), "big")))
        # A bound address of any kind, here a name, stands in front of what the server says.
        await self._tunnel(reader, writer, b"\x05\x00\x00\x03\x05proxy\x04\x00", b"\x05\x05\x00\x01" + bytes(6))

    async def _tunnel(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes, refusal: bytes
    ) -> None:
        host, port = self.asked[-1]
        try:
            if host in self._refuses:
                raise ConnectionRefusedError
            there, to_there = await asyncio.open_connection(host, port)
        except OSError:
            writer.write(refusal)
            await writer.drain()
            return
        writer.write(answer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, to_there))
                both.create_task(_pump(there, writer))
        finally:
            to_there.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while octets := await source.read(65536):
        target.write(octets)
        await target.drain()
    target.close()
