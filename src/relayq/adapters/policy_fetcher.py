"""Policy files of MTA-STS over HTTPS (RFC 8461 section 3.3).

Follows no redirect, trusts no proxy, keeps no cookie, reads a bounded number of octets in a bounded time, and connects
public addresses only, since the names come from recipients of mail. Imported only where policies are wanted: the HTTP
client takes a while to load.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable

import aiohttp

from relayq import __version__
from relayq.adapters.http_addresses import AddressSource
from relayq.adapters.mta_sts import MAX_FETCHES, FetchError
from relayq.policy.mta_sts import MAX_POLICY_OCTETS
from relayq.ports import Resolver

FETCH_SECONDS = 10.0
_MEDIA_TYPE = "text/plain"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether an address is one of the public network, also behind the forms that embed an IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None or address.teredo is not None:
            return False
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.ipv4_mapped
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast


class PolicyFetcher:
    """Gets policy files over HTTPS; the client is made at the first one."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        port: int = 443,
        ca_file: str | None = None,
        may_connect: Callable[[str], bool] = is_public,
    ) -> None:
        """Nothing is opened yet.

        Args:
            resolver: Finds the addresses of web servers.
            port: Port of web servers.
            ca_file: PEM file of roots trusted besides the system's.
            may_connect: Whether an address may be connected.
        """
        self._resolver = resolver
        self._port = port
        self._ca_file = ca_file
        self._may_connect = may_connect
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, domain: str) -> bytes:
        """See :class:`Fetcher`."""
        if self._session is None:
            self._session = self._make_session()
        url = f"https://mta-sts.{domain}:{self._port}/.well-known/mta-sts.txt"
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise FetchError(f"status {response.status}")
                if response.content_type != _MEDIA_TYPE:
                    raise FetchError(f"content of type {response.content_type}")
                return await _read(response.content)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise FetchError(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """See :class:`Fetcher`."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _make_session(self) -> aiohttp.ClientSession:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
        connector = aiohttp.TCPConnector(
            resolver=AddressSource(self._resolver),
            socket_factory=self._make_socket,
            ssl=context,
            use_dns_cache=False,
            limit=MAX_FETCHES,
            force_close=True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
            headers={"User-Agent": f"relayq/{__version__}", "Accept": _MEDIA_TYPE},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    def _make_socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Sees the final address of every connection, however its name was written."""
        family, kind, protocol, _, address = info
        if not self._may_connect(address[0]):
            raise OSError(f"{address[0]} is no public address")
        return socket.socket(family, kind, protocol)


async def _read(content: aiohttp.StreamReader) -> bytes:
    """All of a body, or a little more than is allowed of one that is too long."""
    octets = bytearray()
    async for chunk in content.iter_chunked(8192):
        octets += chunk
        if len(octets) > MAX_POLICY_OCTETS:
            break
    return bytes(octets)
