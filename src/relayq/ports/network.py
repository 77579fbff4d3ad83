"""What the engine asks of the network: connections from a given local address."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from relayq.policy.tls import TlsDemand

P = TypeVar("P", bound=asyncio.BaseProtocol)


class BindError(Exception):
    """The local address is not available on this host."""


class ConnectError(Exception):
    """The peer refused, or cannot be reached. ``str()`` is for the log."""


class LocalShortageError(Exception):
    """Out of ports, descriptors or memory: never a result, try again in a moment (spec delivery.md 7)."""


class TlsFailureKind(enum.Enum):
    """What went wrong with TLS, by what it means for a result (spec delivery.md 10)."""

    REFUSED = "refused"
    """An alert, or nothing both sides can do."""
    CERTIFICATE = "certificate"
    """A certificate that is not trusted or does not match."""
    EXPIRED = "expired"
    """A certificate that is not valid at this time."""
    NAME = "name"
    """A trusted certificate for other names."""
    NOT_TLS = "not TLS"
    """What arrived is not TLS at all."""
    LOST = "lost"
    """The peer closed."""


class TlsError(Exception):
    """No protection to the degree demanded; ``str()`` is for the log."""

    def __init__(self, kind: TlsFailureKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Secured(msgspec.Struct, frozen=True):
    """A connection under TLS.

    Attributes:
        transport: Replaces the one in clear.
        matched_name: Name of the demand that the certificate was checked for, ``None`` when none was.
        details: Members of an extended result in order, already JSON values (spec results.md 10); empty unless wanted.
    """

    transport: asyncio.Transport
    matched_name: str | None = None
    details: tuple[tuple[str, object], ...] = ()


class Network(Protocol):
    """TCP connections, in clear and under TLS."""

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
        self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol, demand: TlsDemand
    ) -> Secured:
        """Upgrade a connection and check what the peer shows; the returned transport replaces the old one.

        Octets that arrived in clear before are the caller's business. No time limit of its own: cancelled from
        outside. When it fails, or is cancelled, the caller closes the connection.

        Raises:
            TlsError: No handshake, or a certificate that does not meet the demand.
        """
        ...
