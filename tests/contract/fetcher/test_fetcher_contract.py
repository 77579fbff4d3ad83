"""What everything does that gets resources from the web (``ports.Fetcher``)."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from relayq.adapters.address_guard import AddressGuard
from relayq.adapters.fetcher import FetcherOptions, HttpFetcher
from relayq.adapters.memory import ManualClock, MemoryFetcher, MemoryResolver
from relayq.compose.responsive import Resource
from relayq.ports import DownloadError, Fetched, Fetcher
from tests.support.web_server import Page, WebServer


class Web(Protocol):
    """A web with pages, and what gets them."""

    fetcher: Fetcher

    def put(self, path: str, body: bytes, *, media_type: str = "", fresh_seconds: float = 60.0) -> str: ...

    def break_down(self, path: str, status: int) -> str: ...


class RealWeb:
    """Over sockets."""

    def __init__(self, server: WebServer) -> None:
        clock = ManualClock()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.fetcher: Fetcher = HttpFetcher(MemoryResolver(clock), AddressGuard(), FetcherOptions(), clock, tls)
        self._server = server

    def put(self, path: str, body: bytes, *, media_type: str = "", fresh_seconds: float = 60.0) -> str:
        headers = {"Cache-Control": f"max-age={fresh_seconds:.0f}"}
        self._server.pages[path] = Page(body, headers=headers | ({"Content-Type": media_type} if media_type else {}))
        return self._server.url(path)

    def break_down(self, path: str, status: int) -> str:
        self._server.pages[path] = Page(b"", status)
        return self._server.url(path)


class MemoryWeb:
    """In memory."""

    def __init__(self) -> None:
        self._memory = MemoryFetcher()
        self.fetcher: Fetcher = self._memory

    def put(self, path: str, body: bytes, *, media_type: str = "", fresh_seconds: float = 60.0) -> str:
        url = f"http://web.test{path}"
        self._memory.pages[url] = Fetched(Resource(body, media_type or None), fresh_seconds)
        return url

    def break_down(self, path: str, status: int) -> str:
        url = f"http://web.test{path}"
        self._memory.pages[url] = DownloadError(f"HTTP {status}", is_temporary=status >= 500)
        return url


@pytest.fixture(params=["sockets", "memory"])
async def web(request: pytest.FixtureRequest) -> AsyncIterator[Web]:
    async with WebServer() as server:
        made: Web = RealWeb(server) if request.param == "sockets" else MemoryWeb()
        yield made
        await made.fetcher.close()
        await made.fetcher.close()


async def test_a_resource_comes_as_it_is(web: Web) -> None:
    url = web.put("/a", b"\0\xff\r\n", media_type="image/x; a=b", fresh_seconds=5)
    assert await web.fetcher.fetch(url, 100, is_start_enough=False) == Fetched(
        Resource(b"\0\xff\r\n", "image/x; a=b"), 5.0
    )


@pytest.mark.parametrize(("status", "is_temporary"), [(404, False), (503, True)])
async def test_what_cannot_be_had_says_why(web: Web, status: int, is_temporary: bool) -> None:
    with pytest.raises(DownloadError) as caught:
        await web.fetcher.fetch(web.break_down("/a", status), 100, is_start_enough=False)
    assert (caught.value.cause, caught.value.is_temporary) == (f"HTTP {status}", is_temporary)


async def test_sizes(web: Web) -> None:
    url = web.put("/a", b"x" * 100)
    assert (await web.fetcher.fetch(url, 100, is_start_enough=False)).resource.body == b"x" * 100
    assert (await web.fetcher.fetch(url, 99, is_start_enough=True)).resource.body == b"x" * 99
    with pytest.raises(DownloadError, match="larger than 99 octets") as caught:
        await web.fetcher.fetch(url, 99, is_start_enough=False)
    assert not caught.value.is_temporary
