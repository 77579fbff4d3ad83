"""What a connection, or the lack of one, is called."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relayq.adapters.sockets import SocketNetwork
from relayq.ports import BindError, ConnectError, LocalShortageError
from tests.support.engine import eventually, open_sockets
from tests.support.ports import free_port
from tests.support.scripted_server import ScriptedServer, Send


@pytest.fixture(autouse=True)
async def no_socket_is_left_over() -> AsyncIterator[None]:
    before = open_sockets()
    yield
    await eventually(lambda: open_sockets() <= before, "sockets are closed")


@pytest.fixture
async def network() -> SocketNetwork:
    return SocketNetwork(asyncio.get_running_loop())


def raising(number: int) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "as told")

    return fail


async def test_a_connection_comes_from_the_address_asked_for(network: SocketNetwork) -> None:
    async with ScriptedServer([Send(b"220 hello\r\n")]) as server:
        transport, _ = await network.connect(asyncio.Protocol, server.host, server.port, "127.0.0.2")
        connection = await server.connection(0)
        assert connection.peer[0] == "127.0.0.2"
        assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        transport.abort()


async def test_the_host_chooses_when_nothing_is_asked_for(network: SocketNetwork) -> None:
    async with ScriptedServer() as server:
        transport, _ = await network.connect(asyncio.Protocol, server.host, server.port, None)
        assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
        transport.abort()


@pytest.mark.parametrize("address", ["203.0.113.99", "::1", "nonsense"])
async def test_an_address_that_is_not_here_cannot_be_bound(network: SocketNetwork, address: str) -> None:
    with pytest.raises(BindError):
        await network.connect(asyncio.Protocol, "127.0.0.1", 9, address)


async def test_nobody_listens(network: SocketNetwork) -> None:
    with pytest.raises(ConnectError, match="refused"):
        await network.connect(asyncio.Protocol, "127.0.0.1", free_port(), None)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ECONNREFUSED, ConnectError),
        (errno.EHOSTUNREACH, ConnectError),
        (errno.ENETUNREACH, ConnectError),
        (errno.ECONNRESET, ConnectError),
        (errno.EPERM, ConnectError),
        (errno.EINVAL, ConnectError),
        (errno.ETIMEDOUT, TimeoutError),
        (errno.EMFILE, LocalShortageError),
        (errno.ENOBUFS, LocalShortageError),
        (errno.EADDRINUSE, LocalShortageError),
        (errno.EADDRNOTAVAIL, LocalShortageError),
    ],
)
async def test_errors_of_connecting(
    network: SocketNetwork, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    class Loop:
        async def sock_connect(self, *_: object) -> None:
            raising(number)()

    monkeypatch.setattr(network, "_loop", Loop())
    with pytest.raises(expected):
        await network.connect(asyncio.Protocol, "127.0.0.1", 9, None)


@pytest.mark.parametrize("has_ipv6", [True, False])
async def test_a_host_without_ipv6_is_no_shortage_of_ports(
    network: SocketNetwork, monkeypatch: pytest.MonkeyPatch, has_ipv6: bool
) -> None:
    """Such a host says "not available" to every IPv6 address; waiting for a port would last for ever."""

    class Loop:
        async def sock_connect(self, *_: object) -> None:
            raising(errno.EADDRNOTAVAIL)()

    class Probe(socket.socket):
        def connect(self, *_: object) -> None:
            if not has_ipv6:
                raising(errno.EADDRNOTAVAIL)()

    monkeypatch.setattr(network, "_loop", Loop())
    monkeypatch.setattr("relayq.adapters.sockets.socket.socket", Probe)
    with pytest.raises(LocalShortageError if has_ipv6 else ConnectError):
        await network.connect(asyncio.Protocol, "2001:db8::1", 25, None)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_no_descriptor_left_is_a_shortage(
    network: SocketNetwork, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("relayq.adapters.sockets.socket.socket", raising(number))
    with pytest.raises(LocalShortageError):
        await network.connect(asyncio.Protocol, "127.0.0.1", 9, None)


async def test_a_family_this_host_does_not_know_cannot_be_connected(
    network: SocketNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayq.adapters.sockets.socket.socket", raising(errno.EAFNOSUPPORT))
    with pytest.raises(ConnectError):
        await network.connect(asyncio.Protocol, "2001:db8::1", 25, None)


async def test_cancelling_closes_the_socket(network: SocketNetwork) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await network.connect(asyncio.Protocol, "127.0.0.1", port, None)
        for filler in fillers:
            filler.close()


async def test_cancelling_in_the_moment_of_success_closes_the_connection(network: SocketNetwork) -> None:
    async with ScriptedServer() as server:
        for turns in range(6):
            task = asyncio.ensure_future(network.connect(asyncio.Protocol, server.host, server.port, None))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                transport, _ = await task
            except asyncio.CancelledError:
                continue
            transport.abort()
