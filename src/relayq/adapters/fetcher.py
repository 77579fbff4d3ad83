"""Downloads by HTTP from anywhere somebody names, which may be nobody's friend (spec responsive.md 10).

Every connection goes to an address the guard has seen: names are resolved by our resolver, what it says is judged, and
the connection is made to exactly that, so a name that changes its mind in between gains nothing; a proxy is told the
address, too. Redirects are followed here and judged like first addresses. Octets, time, header fields and hops are
bounded; no credentials, cookies or referrers are sent, no proxy of the environment is used. Imported only when
something is downloaded: the HTTP client takes a while to load.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping

import aiohttp
import msgspec
import yarl

from relayq.adapters.address_guard import AddressGuard, ForbiddenAddressError
from relayq.adapters.content_coding import CodingError, Decoder
from relayq.adapters.http_addresses import AddressSource
from relayq.adapters.proxy_connector import ProxyConnector
from relayq.compose.responsive import Resource
from relayq.policy.freshness import fresh_seconds
from relayq.ports import Clock, DownloadError, Fetched, ProxyAddress, Resolver

MAX_REDIRECTS = 5
_FOUND = frozenset((200, 203))
_MOVED = frozenset((301, 302, 303, 307, 308))
_TEMPORARY = frozenset((408, 425, 429))
_SCHEMES = frozenset(("http", "https"))
_MAX_URL_CHARACTERS = 8000
_MAX_FIELD_CHARACTERS = 1000
_BREATH_OCTETS = 1024 * 1024
"""After so many octets in one go others get a turn: a small body may unpack to a large one."""
_KEEPALIVE_SECONDS = 5.0


class FetcherOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        user_agent: Header of every request; empty for none.
        timeout: Seconds for one resource, redirects included.
        proxy: What everything goes through; ``None`` for nothing.
    """

    user_agent: str = "relayq"
    timeout: float = 10.0
    proxy: ProxyAddress | None = None


class HttpFetcher:
    """The port ``Fetcher`` over sockets."""

    def __init__(
        self, resolver: Resolver, guard: AddressGuard, options: FetcherOptions, clock: Clock, tls: ssl.SSLContext
    ) -> None:
        """Nothing is opened yet.

        Args:
            resolver: Finds addresses.
            guard: Says which may be connected.
            options: Settings.
            clock: Tells how fresh a resource is.
            tls: What ``https`` servers have to show.
        """
        self._resolver = resolver
        self._guard = guard
        self._options = options
        self._clock = clock
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str, max_bytes: int, *, is_start_enough: bool) -> Fetched:
        """See the port."""
        try:
            async with asyncio.timeout(self._options.timeout):
                return await self._follow(url, max_bytes, is_start_enough=is_start_enough)
        except TimeoutError:
            raise DownloadError("no answer in time", is_temporary=True) from None
        except ForbiddenAddressError as error:
            raise DownloadError(str(error), is_temporary=False) from None
        except CodingError as error:
            raise DownloadError(str(error), is_temporary=False) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from None

    async def close(self) -> None:
        """See the port."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"User-Agent": self._options.user_agent} if self._options.user_agent else {}
            self._session = aiohttp.ClientSession(
                connector=self._make_connector(),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={**headers, "Accept-Encoding": "gzip, deflate"},
                skip_auto_headers=("User-Agent",),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _make_connector(self) -> aiohttp.BaseConnector:
        servers = AddressSource(self._resolver, self._guard.check)
        if self._options.proxy is not None:
            proxies = AddressSource(self._resolver)
            return ProxyConnector(self._options.proxy, proxies, servers, self._tls, _KEEPALIVE_SECONDS)
        return aiohttp.TCPConnector(
            resolver=servers,
            socket_factory=self._make_socket,
            ssl=self._tls,
            use_dns_cache=False,
            limit=0,  # whoever calls says how many at a time, and waiting here would count as time of the server
            keepalive_timeout=_KEEPALIVE_SECONDS,
        )

    def _make_socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Sees the final address of every connection, however its name was written."""
        family, kind, protocol, _, address = info
        self._guard.check(address[0], address[1])
        return socket.socket(family, kind, protocol)

    async def _follow(self, text: str, max_bytes: int, *, is_start_enough: bool) -> Fetched:
        url = self._checked(yarl.URL(text))
        for _ in range(MAX_REDIRECTS + 1):
            async with self._open_session().get(url, allow_redirects=False) as response:
                if response.status not in _MOVED:
                    return await self._read(response, max_bytes, is_start_enough=is_start_enough)
                location = response.headers.get("Location", "")
                response.close()  # nobody reads what a redirect has to say
            if not location:
                raise DownloadError(f"HTTP {response.status} to nowhere", is_temporary=False)
            url = self._checked(url.join(yarl.URL(location)))
        raise DownloadError(f"more than {MAX_REDIRECTS} redirects", is_temporary=False)

    def _checked(self, url: yarl.URL) -> yarl.URL:
        """An address that may be asked, without credentials."""
        if url.scheme not in _SCHEMES:
            raise DownloadError("neither http nor https", is_temporary=False)
        if not url.host or len(str(url)) > _MAX_URL_CHARACTERS:
            raise DownloadError("no usable address", is_temporary=False)
        host = url.host
        try:
            ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            self._guard.check(host, url.port or 0)  # an address is never given to a resolver
        return url.with_user(None).with_fragment(None)

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int, *, is_start_enough: bool) -> Fetched:
        status = response.status
        if status not in _FOUND:
            response.close()
            raise DownloadError(f"HTTP {status}", is_temporary=status in _TEMPORARY or status >= 500)
        body = await _read_body(response, max_bytes, is_start_enough=is_start_enough)
        headers = _fields(response)
        resource = Resource(body, headers.get("content-type") or None, headers.get("content-disposition") or None)
        return Fetched(resource, fresh_seconds(headers, self._clock.now()))


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int, *, is_start_enough: bool) -> bytes:
    """Octets after decompression; the connection is closed if some are left."""
    decoder = Decoder(response.headers.get("Content-Encoding", ""))
    too_large = DownloadError(f"larger than {max_bytes} octets", is_temporary=False)
    declared = response.content_length
    if declared is not None and declared > max_bytes and not is_start_enough:
        response.close()
        raise too_large
    body = bytearray()
    breathe_at = _BREATH_OCTETS
    received = 0
    async for chunk in response.content.iter_any():
        received += len(chunk)
        for piece in decoder.feed(chunk):
            body += piece
            if len(body) > max_bytes:
                break
            if len(body) >= breathe_at:
                breathe_at += _BREATH_OCTETS
                await asyncio.sleep(0)
        # What comes encoded counts as it is, too: it may unpack to nothing for ever.
        if len(body) > max_bytes or received > max_bytes:
            response.close()
            if is_start_enough:
                return bytes(body[:max_bytes])
            raise too_large
    decoder.finish()
    return bytes(body)


def _fields(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    """Header fields that mean something here, by names in lower case."""
    names = (
        "cache-control", "expires", "date", "age", "last-modified", "vary", "content-type", "content-disposition",
    )  # fmt: skip
    found: dict[str, str] = {}
    for name in names:
        values = response.headers.getall(name, [])
        if values:
            joined = values[0] if name.startswith("content-") else ", ".join(values)
            # Octets that are no UTF-8 come as lone surrogates.
            found[name] = joined[:_MAX_FIELD_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    return found


def _failure(error: Exception) -> DownloadError:
    """What an exception of the client means."""
    inner = getattr(error, "os_error", None)
    if isinstance(inner, ForbiddenAddressError):
        return DownloadError(str(inner), is_temporary=False)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return DownloadError("the certificate is not valid, or TLS failed", is_temporary=False)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return DownloadError("no address", is_temporary=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        return DownloadError("no connection", is_temporary=True)
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return DownloadError("connection lost", is_temporary=True)
    if isinstance(error, aiohttp.InvalidURL):
        return DownloadError("no usable address", is_temporary=False)
    if isinstance(error, aiohttp.ClientError):
        return DownloadError("not an HTTP answer", is_temporary=False)
    if isinstance(error, OSError):
        return DownloadError("connection lost", is_temporary=True)
    return DownloadError("no usable address", is_temporary=False)
