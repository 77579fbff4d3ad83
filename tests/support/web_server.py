"""A small web server that serves pages, or does by hand whatever a hostile one would do."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import Awaitable, Callable, Mapping

from tests.support.loopback_server import LoopbackServer
from tests.support.ports import free_port

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A well-made answer; ``Content-Length`` is added."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def moved(location: str, status: int = 302) -> Page:
    """A redirect."""
    return Page(b"elsewhere", status, {"Location": location})


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request; names of header fields are in lower case."""

    path: str
    headers: dict[str, str]


class WebServer(LoopbackServer):
    """Pages by path.

    Attributes:
        pages: What there is; a list is used up from the front, its last entry stays.
        asked: Requests, oldest first.
        busy: Requests being answered now.
        busiest: Most of them at the same time.
    """

    def __init__(self, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(host, free_port(host), tls=tls)
        self.pages: dict[str, Page | Script | list[Page | Script]] = {}
        self.asked: list[Asked] = []
        self.busy = 0
        self.busiest = 0

    @property
    def paths(self) -> list[str]:
        """Paths asked for, oldest first."""
        return [asked.path for asked in self.asked]

    def url(self, path: str, host: str | None = None) -> str:
        """Address of a page, by the server's own address or a name."""
        return f"{'http' if self._tls is None else 'https'}://{host or self.host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other."""
        # Cancelled: the test is over, and asyncio would log what its callback ends with.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in head[1:] if line)
        asked = Asked(head[0].split()[1], {name.lower(): value.strip() for name, _, value in fields})
        self.asked.append(asked)
        page = self.pages.get(asked.path, Page(b"nothing here", 404))
        if isinstance(page, list):
            page = page.pop(0) if len(page) > 1 else page[0]
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            if isinstance(page, Page):
                writer.write(encode(page))
                await writer.drain()
            else:
                await page(writer)
        finally:
            self.busy -= 1
        return isinstance(page, Page)


def encode(page: Page) -> bytes:
    """An answer as octets."""
    headers = {"Content-Length": str(len(page.body)), **page.headers}
    lines = [f"HTTP/1.1 {page.status} Fine", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + page.body


def says(octets: bytes) -> Script:
    """Send these octets and close."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        await writer.drain()
        writer.close()

    return script


async def silence(writer: asyncio.StreamWriter) -> None:
    """Take the request and say nothing."""
    del writer
    await asyncio.get_running_loop().create_future()


def endless(head: bytes, piece: bytes, seconds: float = 0.0) -> Script:
    """Send a piece again and again."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(seconds)

    return script
