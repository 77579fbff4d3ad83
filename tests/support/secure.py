"""Workers that trust the private authority, servers that speak STARTTLS, and smarthosts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from relayq.adapters.sockets import SocketNetwork
from relayq.adapters.tls import TlsOptions
from tests.support.engine import Engine
from tests.support.scripted_server import Expect, Send, StartTls, Step, ehlo, opening
from tests.support.tls import ca_file

USER, PASSWORD = "relay-user", "s3cret-pass"


class RedirectedNetwork(SocketNetwork):
    """Connects to other ports than it is told: the well-known ones are not free to tests."""

    def __init__(self, tls: TlsOptions, ports: Mapping[int, int]) -> None:
        super().__init__(asyncio.get_running_loop(), tls)
        self._ports = ports

    async def connect(self, factory: Any, address: str, port: int, egress_ip: str | None) -> Any:
        return await super().connect(factory, address, self._ports.get(port, port), egress_ip)


def secure_engine(
    *options: str, tls_min: str = "1.2", details: bool = False, ports: Mapping[int, int] | None = None, **more: Any
) -> Engine:
    """A worker that trusts the private authority besides the system's."""
    tls = TlsOptions(ca_file=ca_file(), min_version=tls_min, wants_details=details)
    return Engine(*options, network=RedirectedNetwork(tls, ports or {}), **more)


def starttls(context: ssl.SSLContext, *extensions: str) -> list[Step]:
    """Greeting to EHLO under TLS."""
    return [
        *opening("STARTTLS"),
        Expect(rb"STARTTLS\r\n"),
        Send(b"220 2.0.0 Go ahead\r\n"),
        StartTls(context),
        *ehlo(*extensions),
    ]


def smarthost(port: int, hostname: str = "127.0.0.1", *, user: str | None = USER, password: str = PASSWORD) -> Any:
    """The member ``smarthost`` of a message."""
    login = {} if user is None else {"username": user, "password": password}
    return {"hostname": hostname, "port": port, **login}
