"""Downloads over real sockets, from servers that mean well and from those that do not (spec responsive.md 10)."""

from __future__ import annotations

import asyncio
import functools
import gzip
import ipaddress
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest

from relayq.adapters.address_guard import AddressGuard
from relayq.adapters.fetcher import MAX_REDIRECTS, FetcherOptions, HttpFetcher
from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.ports import DownloadError, Fetched
from tests.support import tls
from tests.support.engine import eventually
from tests.support.ports import free_port
from tests.support.web_server import Page, Script, WebServer, encode, endless, moved, says, silence

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
LIMIT = 100_000
OK = b"HTTP/1.1 200 OK\r\n"


@functools.cache
def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=tls.ca_file())


class World:
    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.clock = ManualClock()
        self.resolver = MemoryResolver(self.clock)
        self.resolver.set_addresses("web.test", server.host)
        self.fetchers: list[HttpFetcher] = []
        self.fetcher = self.make()

    def make(self, *, timeout: float = 10.0, ports: tuple[int | None, ...] | None = None) -> HttpFetcher:
        exceptions = [(LOOPBACK, port) for port in (ports if ports is not None else (self.server.port,))]
        guard = AddressGuard([LOOPBACK], exceptions)
        options = FetcherOptions(user_agent="relayq/test", timeout=timeout)
        return self.guarded(guard, options)

    def guarded(self, guard: AddressGuard, options: FetcherOptions) -> HttpFetcher:
        self.fetchers.append(HttpFetcher(self.resolver, guard, options, self.clock, trusting()))
        return self.fetchers[-1]

    async def get(self, path: str, page: Page | Script | None = None, *, max_bytes: int = LIMIT) -> Fetched:
        if page is not None:
            self.server.pages[path] = page
        return await self.fetcher.fetch(self.server.url(path, "web.test"), max_bytes, is_start_enough=False)

    async def failure(self, path: str, page: Page | Script | None = None, *, max_bytes: int = LIMIT) -> DownloadError:
        with pytest.raises(DownloadError) as caught:
            await self.get(path, page, max_bytes=max_bytes)
        return caught.value


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with WebServer() as server:
        made = World(server)
        yield made
        for fetcher in made.fetchers:
            await fetcher.close()
            await fetcher.close()


async def test_a_resource_comes_with_what_its_server_says_of_it(world: World) -> None:
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Disposition": 'attachment; filename="a.txt"',
        "Cache-Control": "max-age=60",
    }
    fetched = await world.get("/a", Page(b"hello", headers=headers))
    assert fetched.resource.body == b"hello"
    assert fetched.resource.content_type == "text/plain; charset=utf-8"
    assert fetched.resource.content_disposition == 'attachment; filename="a.txt"'
    assert fetched.fresh_seconds == 60.0
    asked = world.server.asked[0].headers
    assert asked["user-agent"] == "relayq/test"
    assert asked["host"] == f"web.test:{world.server.port}"
    assert not {"cookie", "referer", "authorization"} & asked.keys()


async def test_no_user_agent_if_there_is_none(world: World) -> None:
    guard = AddressGuard()
    fetcher = world.guarded(guard, FetcherOptions(user_agent=""))
    world.server.pages["/a"] = Page(b"x")
    await fetcher.fetch(world.server.url("/a"), LIMIT, is_start_enough=False)
    assert "user-agent" not in world.server.asked[0].headers


async def test_credentials_cookies_and_fragments_are_not_sent(world: World) -> None:
    world.server.pages |= {"/a": moved("/b"), "/b": Page(b"x", headers={"Set-Cookie": "a=b"})}
    for _ in range(2):
        url = f"http://user:secret@web.test:{world.server.port}/a#part"
        await world.fetcher.fetch(url, LIMIT, is_start_enough=False)
    assert world.server.paths == ["/a", "/b"] * 2
    for asked in world.server.asked:
        assert not {"cookie", "referer", "authorization"} & asked.headers.keys()


@pytest.mark.parametrize(
    ("status", "is_temporary"),
    [(204, False), (206, False), (304, False), (400, False), (403, False), (404, False), (410, False), (408, True),
     (425, True), (429, True), (500, True), (503, True), (599, True)],
)  # fmt: skip
async def test_statuses(world: World, status: int, is_temporary: bool) -> None:
    error = await world.failure("/a", Page(b"", status))
    assert (error.cause, error.is_temporary) == (f"HTTP {status}", is_temporary)


# --- compression ----------------------------------------------------------------------------------------------------


RAW_DEFLATE = zlib.compressobj(wbits=-15)
ENCODED = [
    ("gzip", gzip.compress(b"hello " * 100)),
    ("x-GZIP", gzip.compress(b"hello " * 50) + gzip.compress(b"hello " * 50)),
    ("deflate", zlib.compress(b"hello " * 100)),
    ("deflate", RAW_DEFLATE.compress(b"hello " * 100) + RAW_DEFLATE.flush()),
    ("identity", b"hello " * 100),
    ("", b"hello " * 100),
]


@pytest.mark.parametrize(("coding", "body"), ENCODED)
async def test_encodings_are_undone(world: World, coding: str, body: bytes) -> None:
    fetched = await world.get("/a", Page(body, headers={"Content-Encoding": coding}))
    assert fetched.resource.body == b"hello " * 100


@pytest.mark.parametrize(
    ("coding", "body", "cause"),
    [
        ("br", b"x", "unknown content-encoding"),
        ("gzip, gzip", b"x", "unknown content-encoding"),
        ("gzip", b"not gzip", "damaged content-encoding"),
        ("gzip", gzip.compress(b"hello" * 100)[:-10], "content-encoding ends too early"),
        ("deflate", zlib.compress(b"hello") + b"more", "more data than encoded"),
        ("gzip", gzip.compress(b"") * 2000, "damaged content-encoding"),
    ],
)
async def test_encodings_that_cannot_be_undone(world: World, coding: str, body: bytes, cause: str) -> None:
    error = await world.failure("/a", Page(body, headers={"Content-Encoding": coding}))
    assert (error.cause, error.is_temporary) == (cause, False)


async def test_a_body_that_unpacks_to_much_takes_no_more_than_allowed(world: World) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        error = await world.failure("/a", Page(bomb, headers={"Content-Encoding": "gzip"}), max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    assert (error.cause, error.is_temporary) == ("larger than 1000000 octets", False)


async def test_encoded_data_that_unpacks_to_nothing_counts_as_it_is(world: World) -> None:
    blocks = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 200_000  # empty stored blocks
    error = await world.failure("/a", Page(blocks, headers={"Content-Encoding": "gzip"}))
    assert error.cause == f"larger than {LIMIT} octets"


# --- size and time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
async def test_as_large_as_allowed(world: World, size: int) -> None:
    assert len((await world.get("/a", Page(bytes(size)))).resource.body) == size


@pytest.mark.parametrize(
    "page",
    [
        Page(bytes(LIMIT + 1)),
        says(OK + b"Content-Length: 1000000000000000\r\n\r\nx"),
        endless(OK + b"\r\n", bytes(10_000)),
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"2710\r\n" + bytes(10_000) + b"\r\n"),
    ],
)
async def test_larger_than_allowed(world: World, page: Page | Script) -> None:
    error = await world.failure("/a", page)
    assert (error.cause, error.is_temporary) == (f"larger than {LIMIT} octets", False)


@pytest.mark.parametrize("page", [Page(bytes(3 * LIMIT)), Page(bytes(LIMIT)), endless(OK + b"\r\n", bytes(10_000))])
async def test_only_the_start_of_something_large(world: World, page: Page | Script) -> None:
    world.server.pages["/a"] = page
    fetched = await world.fetcher.fetch(world.server.url("/a"), LIMIT, is_start_enough=True)
    assert fetched.resource.body == bytes(LIMIT)


@pytest.mark.parametrize(
    "script",
    [
        silence,
        endless(OK, b"X-A: b\r\n", 0.02),
        endless(OK + b"\r\n", b"x", 0.02),
        endless(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    ],
    ids=["silence", "header", "body", "continue"],
)
async def test_slow_servers(world: World, script: Script) -> None:
    world.fetcher = world.make(timeout=0.3)
    error = await world.failure("/a", script)
    assert (error.cause, error.is_temporary) == ("no answer in time", True)


async def test_time_is_for_all_redirects_together(world: World) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        writer.write(encode(moved("/a")))
        writer.close()

    world.fetcher = world.make(timeout=0.4)
    error = await world.failure("/a", slowly)
    assert error.cause == "no answer in time"


@pytest.mark.parametrize(
    "script",
    [
        says(b""),
        says(OK),
        says(OK + b"Content-Length: 100\r\n\r\nshort"),
        says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"),
    ],
    ids=["nothing", "half-head", "short", "half-chunked"],
)
async def test_connections_that_end_too_early(world: World, script: Script) -> None:
    error = await world.failure("/a", script)
    assert (error.cause, error.is_temporary) == ("connection lost", True)


@pytest.mark.parametrize(
    "script",
    [
        says(b"220 smtp.test ESMTP\r\n"),
        says(b"\x00" * 100),
        says(OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n"),
        says(OK + b"".join(b"X-%d: a\r\n" % number for number in range(1000)) + b"\r\n"),
        says(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
        says(OK + b"Content-Length: many\r\n\r\nx"),
        endless(OK, b"X-A: " + b"b" * 1000 + b"\r\n"),
    ],
    ids=["smtp", "nul", "long-field", "many-fields", "two-lengths", "no-length", "endless-fields"],
)
async def test_what_is_no_answer(world: World, script: Script) -> None:
    error = await world.failure("/a", script)
    assert (error.cause, error.is_temporary) == ("not an HTTP answer", False)


async def test_fields_of_any_octets_are_readable_text(world: World) -> None:
    fetched = await world.get("/a", says(OK + b"Content-Type: text/\xff\xfe\r\nContent-Length: 1\r\n\r\nx"))
    assert fetched.resource.content_type is not None
    fetched.resource.content_type.encode()
    long = await world.get("/b", Page(b"x", headers={"Content-Type": "a" * 8000}))
    assert len(long.resource.content_type or "") == 1000


# --- where to -------------------------------------------------------------------------------------------------------


async def test_redirects_are_followed(world: World) -> None:
    world.server.pages |= {
        "/1": moved("/2", 301), "/2": moved("3", 302), "/3": moved(f"//web.test:{world.server.port}/4", 303),
        "/4": moved(world.server.url("/5", "web.test"), 307), "/5": moved("/6", 308), "/6": Page(b"there"),
    }  # fmt: skip
    assert (await world.get("/1")).resource.body == b"there"
    assert len(world.server.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("location", "cause", "asked"),
    [
        ("/a", f"more than {MAX_REDIRECTS} redirects", MAX_REDIRECTS + 1),
        ("", "HTTP 302 to nowhere", 1),
        ("file:///etc/passwd", "neither http nor https", 1),
        ("ftp://web.test/a", "neither http nor https", 1),
        ("gopher://web.test:25/x", "neither http nor https", 1),
        ("http://[::1", "no usable address", 1),
        ("http://web.test:99999999/", "no usable address", 1),
        ("http://169.254.169.254/latest/meta-data/", "forbidden address", 1),
        ("http://127.0.0.2/", "forbidden address", 1),
        ("http://[::ffff:127.0.0.1]/", "forbidden address", 1),
        ("http://[::1]:80/", "forbidden address", 1),
        ("http://internal.test/", "forbidden address", 1),
    ],
)
async def test_redirects_to_places_that_are_not_for_us(world: World, location: str, cause: str, asked: int) -> None:
    world.resolver.set_addresses("internal.test", "10.0.0.1", "127.0.0.1")
    networks = ["127.0.0.0/8", "10.0.0.0/8", "169.254.0.0/16", "::1/128"]
    guard = AddressGuard(map(ipaddress.ip_network, networks), [(LOOPBACK, world.server.port)])
    world.fetcher = world.guarded(guard, FetcherOptions())
    error = await world.failure("/a", moved(location))
    assert (error.cause, error.is_temporary) == (cause, False)
    assert len(world.server.asked) == asked


@pytest.mark.parametrize("spelling", ["127.0.0.1", "[::ffff:7f00:1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"])
async def test_forbidden_addresses_in_any_spelling(world: World, spelling: str) -> None:
    fetcher = world.make(ports=())
    with pytest.raises(DownloadError, match="forbidden address"):
        await fetcher.fetch(f"http://{spelling}:{world.server.port}/", LIMIT, is_start_enough=False)
    assert world.server.asked == []


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "127.0.0.1."])
async def test_other_spellings_are_names_like_any_other(world: World, spelling: str) -> None:
    """Only the C library takes them for addresses, and it is not asked."""
    with pytest.raises(DownloadError) as caught:
        await world.fetcher.fetch(f"http://{spelling}:{world.server.port}/", LIMIT, is_start_enough=False)
    assert caught.value.cause in {"no address", "no usable address"}
    assert world.server.asked == []


async def test_an_exception_is_for_its_port_only(world: World) -> None:
    async with WebServer() as other:
        other.pages["/"] = Page(b"secret")
        with pytest.raises(DownloadError, match="forbidden address"):
            await world.fetcher.fetch(other.url("/", "web.test"), LIMIT, is_start_enough=False)
        assert other.asked == []


async def test_only_allowed_addresses_of_a_name_are_connected(world: World) -> None:
    async with WebServer("127.0.0.2") as forbidden:
        both = AddressGuard([ipaddress.ip_network("127.0.0.2/32")])
        world.resolver.set_addresses("two.test", "127.0.0.2", "127.0.0.1")
        world.server.pages["/"] = Page(b"right")
        forbidden.pages["/"] = Page(b"wrong")
        fetcher = world.guarded(both, FetcherOptions())
        fetched = await fetcher.fetch(world.server.url("/", "two.test"), LIMIT, is_start_enough=False)
        assert fetched.resource.body == b"right"
        assert forbidden.asked == []


async def test_a_name_that_changes_its_mind_gains_nothing(world: World) -> None:
    """The connection goes to the address that was judged; one that is judged as it is connected is judged again."""
    world.server.pages["/"] = Page(b"x", headers={"Connection": "close"})
    url = world.server.url("/", "web.test")
    assert (await world.fetcher.fetch(url, LIMIT, is_start_enough=False)).resource.body == b"x"
    world.resolver.set_addresses("web.test", "127.0.0.9")
    fetcher = world.make(ports=(free_port(),))
    with pytest.raises(DownloadError, match="forbidden address"):
        await fetcher.fetch(url, LIMIT, is_start_enough=False)
    assert len(world.server.asked) == 1


@pytest.mark.parametrize(
    ("url", "cause", "is_temporary"),
    [
        ("http://nowhere.test/", "no address", True),
        (f"http://web.test:{free_port()}/", "no connection", True),
        ("data:text/plain,x", "neither http nor https", False),
        ("http://" + "a" * 9000 + ".test/", "no usable address", False),
        ("http://a b/", "no address", True),
        ("/relative", "neither http nor https", False),
        ("http://\udc80/", "no usable address", False),
        ("http://" + "é" * 300 + ".test/", "no usable address", False),
    ],
)
async def test_addresses_that_lead_nowhere(world: World, url: str, cause: str, is_temporary: bool) -> None:
    fetcher = world.make(ports=(None,))
    with pytest.raises(DownloadError) as caught:
        await fetcher.fetch(url, LIMIT, is_start_enough=False)
    assert (caught.value.cause, caught.value.is_temporary) == (cause, is_temporary)


async def test_certificates_are_checked(world: World) -> None:
    async with WebServer(tls=tls.trusted("web.test")) as server:
        world.resolver.set_addresses("other.test", "127.0.0.1")
        server.pages["/"] = Page(b"x")
        fetcher = world.make(ports=(server.port,))
        fetched = await fetcher.fetch(server.url("/", "web.test"), LIMIT, is_start_enough=False)
        assert fetched.resource.body == b"x"
        with pytest.raises(DownloadError) as caught:
            await fetcher.fetch(server.url("/", "other.test"), LIMIT, is_start_enough=False)
        assert (caught.value.cause, caught.value.is_temporary) == ("the certificate is not valid, or TLS failed", False)


async def test_a_download_can_be_cancelled(world: World) -> None:
    world.server.pages["/"] = silence
    task = asyncio.create_task(world.fetcher.fetch(world.server.url("/"), LIMIT, is_start_enough=False))
    await eventually(lambda: world.server.busy == 1, "the server was asked")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_environment_proxies_are_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert (await world.get("/a", Page(b"x"))).resource.body == b"x"
