"""What the engine asks of the network: connections from a given local address."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)


class BindError(Exception):
    """The local address is not available on this host."""


class ConnectError(Exception):
    """The peer refused, or cannot be reached. ``str()`` is for the log."""


class LocalShortageError(Exception):
    """Out of ports, descriptors or memory: never a result, try again in a moment (spec delivery.md 7)."""


class Network(Protocol):
    """TCP connections."""

    async def connect(
        self, factory: Callable[[], P], address: str, port: int, egress_ip: str | None
    ) -> tuple[asyncio.Transport, P]:
        """Connect ``address`` (IP text) from ``egress_ip`` (``None``: the host chooses).

        No time limit of its own: cancelled from outside.

        Raises:
            BindError: ``egress_ip`` is not one of this host's addresses.
            ConnectError: Refused, unreachable or reset.
            LocalShortageError: This host lacks ports, descriptors or memory.
        """
        ...

    async def start_tls(
        self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, server_name: str
    ) -> asyncio.Transport:
        """Upgrade a connection; the returned transport replaces the old one.

        Raises:
            ssl.SSLError: Handshake or certificate refused.
            ConnectionError: The peer closed.
        """
        ...
