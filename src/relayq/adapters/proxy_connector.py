"""Connections of the HTTP client through a proxy, to addresses that were resolved and judged here.

A proxy that is given a name would look it up itself, after we have judged what it meant to us: a name that changes its
mind in between would lead to where nobody may go. So the proxy is told an address, for ``http`` as for ``https``, and
gives a tunnel: CONNECT (RFC 9110 section 9.3.6) or SOCKS version 5 (RFC 1928, login by RFC 1929). What goes through it
is what would go through a connection of our own: ``Host``, and for TLS the server's name and certificate, are those of
the web server. A request in absolute form would name the address as host (RFC 9112 section 3.2.2), and servers with
many names would answer for the wrong one.

Whatever the proxy refuses is temporary: it may be a slip of who runs it, and must not end mail for good.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import re
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp

from relayq.adapters.address_guard import IpAddress
from relayq.adapters.http_addresses import AddressSource
from relayq.ports import DownloadError, ProxyAddress

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

_MOST_ADDRESSES = 4
"""Of a web server, or of the proxy: the time for one resource is too short for more."""
_MOST_HEAD_OCTETS = 16_384
_READ_OCTETS = 4096
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r?\n)")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LOGIN_REFUSED = frozenset((401, 407))
"""The first one is wrong from a proxy, and what Tinyproxy says."""

_VERSION, _LOGIN_VERSION = 5, 1
_NO_LOGIN, _LOGIN = 0, 2
_IPV4, _NAME, _IPV6 = 1, 3, 4


class _Refused(Exception):
    """The proxy gives no tunnel to this address; it may to another."""


class ProxyConnector(aiohttp.BaseConnector):
    """Opens every connection through one proxy."""

    def __init__(
        self,
        proxy: ProxyAddress,
        proxies: AddressSource,
        servers: AddressSource,
        tls: ssl.SSLContext,
        keepalive_seconds: float,
    ) -> None:
        """Nothing is opened yet.

        Args:
            proxy: Itself.
            proxies: Finds its addresses; the operator named it, so nobody judges them.
            servers: Finds addresses of web servers that may be connected.
            tls: What ``https`` servers have to show.
            keepalive_seconds: How long an idle connection is kept.
        """
        super().__init__(limit=0, keepalive_timeout=keepalive_seconds)
        self._proxy = proxy
        self._proxies = proxies
        self._servers = servers
        self._tls = tls

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - that of the hook
    ) -> ResponseHandler:
        """The hook every connector fills."""
        del traces, timeout
        host, port = req.url.raw_host or "", req.url.port or 0
        tunnel = await self._open_tunnel(req, host, port)
        tls = self._tls if req.is_ssl() else None
        try:
            _, protocol = await self._loop.create_connection(
                self._factory, sock=tunnel, ssl=tls, server_hostname=host.rstrip(".") if tls else None
            )
        except ssl.CertificateError as error:
            tunnel.close()
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except ssl.SSLError as error:
            tunnel.close()
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except BaseException:
            tunnel.close()
            raise
        return protocol

    async def _open_tunnel(self, req: aiohttp.ClientRequest, host: str, port: int) -> socket.socket:
        try:
            targets = await _find(host, port, self._servers)
        except OSError as error:
            raise aiohttp.ClientConnectorDNSError(req.connection_key, error) from error
        cause = "no address"
        for target in targets[:_MOST_ADDRESSES]:
            connection = await self._connect()
            try:
                await _Handshake(connection, self._proxy).run(target, port)
            except _Refused as error:
                connection.close()
                cause = str(error)
            except OSError:
                connection.close()
                cause = "the proxy hangs up"
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise DownloadError(cause, is_temporary=True)

    async def _connect(self) -> socket.socket:
        """A connection to the proxy."""
        host, port = self._proxy.host, self._proxy.port
        with contextlib.suppress(OSError):
            for address in (await _find(host, port, self._proxies))[:_MOST_ADDRESSES]:
                family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
                connection = socket.socket(family, socket.SOCK_STREAM)
                connection.setblocking(False)
                try:
                    await self._loop.sock_connect(connection, (str(address), port))
                except OSError:
                    connection.close()
                except BaseException:
                    connection.close()
                    raise
                else:
                    return connection
        raise DownloadError("no connection to the proxy", is_temporary=True)


class _Handshake:
    """Asking for a tunnel on a connection to the proxy. Reads nothing that comes from the other end of it."""

    def __init__(self, connection: socket.socket, proxy: ProxyAddress) -> None:
        self._connection = connection
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()

    async def run(self, address: IpAddress, port: int) -> None:
        """Ask for a tunnel to this address.

        Raises:
            _Refused: There is none.
            OSError: The connection broke.
        """
        if self._proxy.scheme == "http":
            # Without a zone, which means something on this machine only.
            host = f"[{ipaddress.IPv6Address(int(address))}]" if address.version == 6 else str(address)
            await self._run_http(f"{host}:{port}")
        else:
            await self._run_socks(address, port)

    async def _run_http(self, authority: str) -> None:
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if self._proxy.username is not None:
            login = f"{self._proxy.username}:{self._proxy.password or ''}".encode()
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(login).decode('ascii')}")
        await self._loop.sock_sendall(self._connection, "\r\n".join((*lines, "", "")).encode("ascii"))
        head = bytearray()
        while (end := _HEAD_END.search(head)) is None:
            if len(head) > _MOST_HEAD_OCTETS:
                raise _Refused("the proxy's answer is too long")
            received = await self._loop.sock_recv(self._connection, _READ_OCTETS)
            if not received:
                raise ConnectionResetError
            head += received
        status = _STATUS.match(head)
        if status is None:
            raise _Refused("the proxy speaks no HTTP")
        code = int(status[1])
        if code in _LOGIN_REFUSED:
            raise _Refused("the proxy refuses the login")
        if not 200 <= code < 300:
            raise _Refused(f"the proxy answers HTTP {code}")
        if end.end() != len(head):
            raise _Refused("the proxy speaks before it is asked")  # a web server never begins

    async def _run_socks(self, address: IpAddress, port: int) -> None:
        methods = bytes((_NO_LOGIN,)) if self._proxy.username is None else bytes((_NO_LOGIN, _LOGIN))
        await self._send(bytes((_VERSION, len(methods))) + methods)
        version, method = await self._read(2)
        if version != _VERSION:
            raise _Refused("the proxy speaks no SOCKS 5")
        if method not in methods:
            raise _Refused("the proxy wants another login")
        if method == _LOGIN:
            await self._log_in()
        kind = _IPV6 if address.version == 6 else _IPV4
        await self._send(bytes((_VERSION, 1, 0, kind)) + address.packed + port.to_bytes(2, "big"))
        version, reply, _, kind = await self._read(4)
        if version != _VERSION:
            raise _Refused("the proxy speaks no SOCKS 5")
        if reply != 0:
            raise _Refused(f"the proxy answers SOCKS {reply}")
        # What the proxy is bound to matters to nobody, but stands in front of the server's octets.
        lengths = {_IPV4: 4, _IPV6: 16}
        length = (await self._read(1))[0] if kind == _NAME else lengths.get(kind)
        if length is None:
            raise _Refused("the proxy speaks no SOCKS 5")
        await self._read(length + 2)

    async def _log_in(self) -> None:
        parts = [part.encode() for part in (self._proxy.username or "", self._proxy.password or "")]
        await self._send(bytes((_LOGIN_VERSION,)) + b"".join(bytes((len(part),)) + part for part in parts))
        if (await self._read(2))[1] != 0:
            raise _Refused("the proxy refuses the login")

    async def _send(self, octets: bytes) -> None:
        await self._loop.sock_sendall(self._connection, octets)

    async def _read(self, count: int) -> bytes:
        """Exactly so many octets: the next ones may be the server's."""
        read = bytearray()
        while len(read) < count:
            received = await self._loop.sock_recv(self._connection, count - len(read))
            if not received:
                raise ConnectionResetError
            read += received
        return bytes(read)


async def _find(host: str, port: int, source: AddressSource) -> list[IpAddress]:
    """Addresses of a host; what is one is given to no resolver.

    Raises:
        OSError: There are none, or none that may be connected.
    """
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return [ipaddress.ip_address(result["host"]) for result in await source.resolve(host, port)]
    return [literal]
