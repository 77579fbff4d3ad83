"""TCP connections from a given local address, over the running event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable

from relayq.adapters.tls import DEFAULT_TLS, TlsClient, TlsOptions
from relayq.policy.tls import TlsDemand
from relayq.ports.network import BindError, ConnectError, LocalShortageError, P, Secured

_SHORTAGE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EADDRINUSE))
_UNBINDABLE = frozenset((errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT, errno.EACCES))

# Linux: let the kernel choose the port at connect() by the whole four-tuple. Choosing it at bind() already runs out of
# ports at 28,000 connections per local address, whatever the number of remote ones. Missing from `socket` before 3.12.
_IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


class SocketNetwork:
    """``ports.Network`` over real sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: TlsOptions = DEFAULT_TLS) -> None:
        self._loop = loop
        self._tls = TlsClient(tls, loop)

    def reconfigure(self, tls: TlsOptions) -> None:
        """Other options for the next connections."""
        self._tls = TlsClient(tls, self._loop)

    async def connect(
        self, factory: Callable[[], P], address: str, port: int, egress_ip: str | None
    ) -> tuple[asyncio.Transport, P]:
        """See ``ports.Network.connect``."""
        sock = self._make_socket(address, egress_ip)
        try:
            await self._loop.sock_connect(sock, (address, port))
            transport, protocol = await self._loop.create_connection(factory, sock=sock)
        except OSError as error:
            sock.close()
            if error.errno == errno.ETIMEDOUT:
                raise TimeoutError(error.strerror) from None  # the kernel was less patient than we are
            if error.errno in _SHORTAGE or (error.errno == errno.EADDRNOTAVAIL and _has_source(address, egress_ip)):
                raise LocalShortageError(error.strerror or str(error)) from None
            # The text of the loop only names the address, which the caller knows.
            raise ConnectError(os.strerror(error.errno) if error.errno else str(error)) from None
        except BaseException:
            sock.close()
            raise
        return transport, protocol

    def _make_socket(self, address: str, egress_ip: str | None) -> socket.socket:
        try:
            sock = socket.socket(_family(address), socket.SOCK_STREAM)
        except OSError as error:
            if error.errno in _SHORTAGE:
                raise LocalShortageError(error.strerror or str(error)) from None
            raise ConnectError(str(error)) from None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if egress_ip is not None:
            try:
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((egress_ip, 0))
            except OSError as error:
                sock.close()
                if error.errno in _UNBINDABLE:
                    raise BindError(f"{egress_ip}: {error.strerror}") from None
                if error.errno in _SHORTAGE:
                    raise LocalShortageError(error.strerror or str(error)) from None
                raise BindError(f"{egress_ip}: {error}") from None
        return sock

    async def start_tls(
        self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol, demand: TlsDemand
    ) -> Secured:
        """See ``ports.Network.start_tls``."""
        return await self._tls.start_tls(transport, protocol, demand)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _has_source(address: str, egress_ip: str | None) -> bool:
    """Whether there is a local address to connect from: then what is "not available" is a port.

    A host without IPv6 says the same about every IPv6 address; datagrams need no port of their own to find out.
    """
    if egress_ip is not None:
        return True  # bind() accepted it
    try:
        with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
    except OSError:
        return False
    return True
