"""Downloads through proxies over real sockets: told only addresses that were judged (spec responsive.md 10)."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import ssl
from collections.abc import AsyncIterator

import pytest

from relayq.adapters.address_guard import AddressGuard
from relayq.adapters.fetcher import FetcherOptions, HttpFetcher
from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.ports import DownloadError, ProxyAddress
from tests.support import tls
from tests.support.engine import eventually
from tests.support.ports import free_port
from tests.support.proxy_server import ProxyServer
from tests.support.web_server import Page, Script, WebServer, endless, moved, says, silence

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
LIMIT = 100_000
SCHEMES = ["http", "socks"]


@functools.cache
def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=tls.ca_file())


class World:
    """A web server, and fetchers that reach it through proxies."""

    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.resolver = MemoryResolver(ManualClock())
        self.resolver.set_addresses("web.test", server.host)
        self.fetchers: list[HttpFetcher] = []

    def through(
        self, proxy: ProxyServer, scheme: str = "http", *, host: str | None = None, timeout: float = 10.0,
        login: tuple[str, str] | None = None, guard: AddressGuard | None = None,
    ) -> HttpFetcher:  # fmt: skip
        username, password = login or (None, None)
        address = ProxyAddress(
            scheme=scheme, host=host or proxy.host, port=proxy.port, username=username, password=password
        )
        options = FetcherOptions(timeout=timeout, proxy=address)
        guard = guard or AddressGuard([LOOPBACK], [(LOOPBACK, self.server.port)])
        self.fetchers.append(HttpFetcher(self.resolver, guard, options, ManualClock(), trusting()))
        return self.fetchers[-1]

    async def failure(self, fetcher: HttpFetcher, url: str | None = None) -> tuple[str, bool]:
        with pytest.raises(DownloadError) as caught:
            await fetcher.fetch(url or self.server.url("/a", "web.test"), LIMIT, is_start_enough=False)
        return caught.value.cause, caught.value.is_temporary


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with WebServer() as server:
        server.pages["/a"] = Page(b"hello")
        made = World(server)
        yield made
        for fetcher in made.fetchers:
            await fetcher.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_proxy_is_told_the_address_and_the_server_the_name(world: World, scheme: str) -> None:
    async with ProxyServer(scheme) as proxy:
        fetcher = world.through(proxy, scheme)
        for _ in range(3):
            fetched = await fetcher.fetch(world.server.url("/a", "web.test"), LIMIT, is_start_enough=False)
            assert fetched.resource.body == b"hello"
        assert set(proxy.asked) == {("127.0.0.1", world.server.port)}
    asked = world.server.asked[0]
    assert (asked.path, asked.headers["host"]) == ("/a", f"web.test:{world.server.port}")
    assert not {"proxy-authorization", "authorization", "proxy-connection"} & asked.headers.keys()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_tls_is_with_the_server_and_its_name_is_checked(world: World, scheme: str) -> None:
    async with WebServer(tls=tls.trusted("web.test")) as server, ProxyServer(scheme) as proxy:
        server.pages["/a"] = Page(b"secret")
        world.resolver.set_addresses("other.test", server.host)
        fetcher = world.through(proxy, scheme, guard=AddressGuard())
        fetched = await fetcher.fetch(server.url("/a", "web.test"), LIMIT, is_start_enough=False)
        assert fetched.resource.body == b"secret"
        failure = await world.failure(fetcher, server.url("/a", "other.test"))
        assert failure == ("the certificate is not valid, or TLS failed", False)
        assert proxy.asked == [("127.0.0.1", server.port)] * 2


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_logins(world: World, scheme: str) -> None:
    login = ("user", "pässword:1")
    async with ProxyServer(scheme, login=login) as proxy:
        fetcher = world.through(proxy, scheme, login=login)
        url = world.server.url("/a", "web.test")
        assert (await fetcher.fetch(url, LIMIT, is_start_enough=False)).resource.body == b"hello"
        refused = ("the proxy refuses the login", True)
        assert await world.failure(world.through(proxy, scheme, login=("user", "wrong"))) == refused
        without = "the proxy refuses the login" if scheme == "http" else "the proxy wants another login"
        assert await world.failure(world.through(proxy, scheme)) == (without, True)
    assert len(world.server.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{0}/a", "https://127.0.0.1:{0}/a", "http://[::ffff:127.0.0.1]:{0}/a",
        "http://inside.test:{0}/a", "http://169.254.169.254/latest/", "http://localhost:{0}/a",
    ],
)  # fmt: skip
async def test_forbidden_addresses_are_never_asked_for(world: World, url: str) -> None:
    world.resolver.set_addresses("inside.test", "127.0.0.1", "10.0.0.1")
    world.resolver.set_addresses("localhost", "127.0.0.1")
    guard = AddressGuard([LOOPBACK, *map(ipaddress.ip_network, ("10.0.0.0/8", "169.254.0.0/16"))])
    async with ProxyServer() as proxy:
        fetcher = world.through(proxy, guard=guard)
        assert await world.failure(fetcher, url.format(world.server.port)) == ("forbidden address", False)
        assert proxy.connections == 0


async def test_every_redirect_is_judged_anew(world: World) -> None:
    world.server.pages["/in"] = moved("http://127.0.0.9/")
    world.server.pages["/on"] = moved("/a")
    async with ProxyServer() as proxy:
        fetcher = world.through(proxy)
        fetched = await fetcher.fetch(world.server.url("/on", "web.test"), LIMIT, is_start_enough=False)
        assert fetched.resource.body == b"hello"
        assert await world.failure(fetcher, world.server.url("/in", "web.test")) == ("forbidden address", False)
        assert {host for host, _ in proxy.asked} == {"127.0.0.1"}


async def test_a_name_with_a_forbidden_address_is_tried_at_the_others_only(world: World) -> None:
    world.resolver.set_addresses("two.test", "127.0.0.2", "127.0.0.1")
    guard = AddressGuard([ipaddress.ip_network("127.0.0.2/32")])
    async with ProxyServer() as proxy:
        fetcher = world.through(proxy, guard=guard)
        url = world.server.url("/a", "two.test")
        assert (await fetcher.fetch(url, LIMIT, is_start_enough=False)).resource.body == b"hello"
        assert [host for host, _ in proxy.asked] == ["127.0.0.1"]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_next_address_is_tried_when_one_is_refused(world: World, scheme: str) -> None:
    world.resolver.set_addresses("two.test", "127.0.0.3", "127.0.0.1")
    async with ProxyServer(scheme, refuses=("127.0.0.3",)) as proxy:
        fetcher = world.through(proxy, scheme)
        url = world.server.url("/a", "two.test")
        assert (await fetcher.fetch(url, LIMIT, is_start_enough=False)).resource.body == b"hello"
        assert [host for host, _ in proxy.asked] == ["127.0.0.3", "127.0.0.1"]


async def test_the_proxy_itself_may_be_a_name_and_anywhere(world: World) -> None:
    world.resolver.set_addresses("proxy.test", "127.0.0.8", "127.0.0.1")
    async with ProxyServer() as proxy:
        fetcher = world.through(proxy, host="proxy.test")
        url = world.server.url("/a", "web.test")
        assert (await fetcher.fetch(url, LIMIT, is_start_enough=False)).resource.body == b"hello"


async def test_ipv6_addresses_are_written_as_their_schemes_want(world: World) -> None:
    async with ProxyServer(refuses=("2001:db8::1",)) as http, ProxyServer("socks", refuses=("2001:db8::1",)) as socks:
        for proxy, scheme, cause in ((http, "http", "HTTP 502"), (socks, "socks", "SOCKS 5")):
            fetcher = world.through(proxy, scheme, guard=AddressGuard())
            failure = await world.failure(fetcher, "http://[2001:DB8::1]/a")
            assert failure == (f"the proxy answers {cause}", True)
            assert proxy.asked == [("2001:db8::1", 80)]
        assert http.heads[0].startswith("CONNECT [2001:db8::1]:80 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n")


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (says(b""), "the proxy hangs up"),
        (says(b"HTTP/1.1 200 fine\r\n"), "the proxy hangs up"),
        (says(b"220 smtp.test ESMTP\r\n\r\n"), "the proxy speaks no HTTP"),
        (says(b"HTTP/1.1 401 no\r\n\r\n"), "the proxy refuses the login"),
        (says(b"HTTP/1.1 403 no\r\n\r\n"), "the proxy answers HTTP 403"),
        (says(b"HTTP/1.0 503 no\r\nContent-Length: 2\r\n\r\nno"), "the proxy answers HTTP 503"),
        (says(b"HTTP/1.1 100 Continue\r\n\r\n"), "the proxy answers HTTP 100"),
        (says(b"HTTP/1.1 200 fine\r\n\r\nHTTP/1.1 200 fine\r\n\r\n"), "the proxy speaks before it is asked"),
        (endless(b"HTTP/1.1 200 fine\r\n", b"X-A: b\r\n" * 100), "the proxy's answer is too long"),
        (silence, "no answer in time"),
    ],
    ids=["nothing", "half", "smtp", "401", "403", "503", "100", "early", "endless", "silence"],
)
async def test_http_proxies_that_give_no_tunnel(world: World, script: Script, cause: str) -> None:
    async with ProxyServer(script=script) as proxy:
        fetcher = world.through(proxy, timeout=0.3 if script is silence else 10.0)
        assert await world.failure(fetcher) == (cause, True)
    assert world.server.asked == []


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"", "the proxy hangs up"),
        (b"HTTP/1.1 400 no\r\n\r\n", "the proxy speaks no SOCKS 5"),
        (b"\x05\xff", "the proxy wants another login"),
        (b"\x05\x00\x04\x00\x00\x01", "the proxy speaks no SOCKS 5"),
        (b"\x05\x00\x05\x02\x00\x01", "the proxy answers SOCKS 2"),
        (b"\x05\x00\x05\x00\x00\x09", "the proxy speaks no SOCKS 5"),
        (b"\x05\x00\x05\x00\x00\x03\xffshort", "the proxy hangs up"),
    ],
)
async def test_socks_proxies_that_give_no_tunnel(world: World, said: bytes, cause: str) -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.write_eof()
        await asyncio.get_running_loop().create_future()  # what it is told stays unread, and is no reset

    async with ProxyServer("socks", script=script) as proxy:
        assert await world.failure(world.through(proxy, "socks")) == (cause, True)


async def test_nobody_listens(world: World) -> None:
    proxy = ProxyServer()  # never entered
    assert await world.failure(world.through(proxy)) == ("no connection to the proxy", True)
    assert await world.failure(world.through(proxy, host="nowhere.test")) == ("no connection to the proxy", True)
    unresolved = f"http://nowhere.test:{free_port()}/"
    assert await world.failure(world.through(proxy), unresolved) == ("no address", True)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_limits_hold_behind_a_proxy(world: World, scheme: str) -> None:
    world.server.pages |= {"/large": Page(bytes(LIMIT + 1)), "/slow": silence}
    async with ProxyServer(scheme) as proxy:
        fetcher = world.through(proxy, scheme, timeout=0.5)
        assert await world.failure(fetcher, world.server.url("/slow", "web.test")) == ("no answer in time", True)
        fetcher = world.through(proxy, scheme)
        too_large = (f"larger than {LIMIT} octets", False)
        assert await world.failure(fetcher, world.server.url("/large", "web.test")) == too_large


async def test_a_download_can_be_cancelled_while_the_proxy_thinks(world: World) -> None:
    async with ProxyServer(script=silence) as proxy:
        fetcher = world.through(proxy)
        task = asyncio.create_task(fetcher.fetch(world.server.url("/a"), LIMIT, is_start_enough=False))
        await eventually(lambda: proxy.connections == 1, "the proxy was asked")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
