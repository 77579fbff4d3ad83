"""Opening sessions: where the sink is. The rest needs a dialogue and is tested over sockets."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from relayq.adapters.memory import RecordingObserver
from relayq.delivery.lane import Route
from relayq.delivery.opening import DialogueRules, SessionOpener, SinkNotFoundError
from relayq.delivery.session import SmtpTimeouts
from relayq.delivery.terms import Sink
from relayq.policy.tls import NO_DEMAND, SecurityLevel, TlsPolicy
from relayq.ports import LocalShortageError
from relayq.smtp import TlsMode

ROUTE = Route(None, "192.0.2.1", 25)


class Hosts:
    """An event loop's name service."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        if not self.addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


def make_opener(hosts: Hosts, sink: Sink | None) -> SessionOpener:
    nothing: Any = None
    loop: Any = hosts
    return SessionOpener(nothing, nothing, SmtpTimeouts(), loop, DialogueRules(sink=sink), RecordingObserver())


async def test_the_name_of_a_sink_is_looked_up_once() -> None:
    hosts = Hosts("192.0.2.9", "192.0.2.10")
    opener = make_opener(hosts, Sink(address="sink.test", port=2525))
    await opener.find_sink()
    assert [opener._endpoint(ROUTE) for _ in range(3)] == [("192.0.2.9", 2525)] * 3
    assert hosts.asked == ["sink.test"]


async def test_a_sink_without_an_address_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(SinkNotFoundError, match=r"smtp-sink-address: sink\.test: .*not known"):
        await make_opener(Hosts(), Sink(address="sink.test", port=25)).find_sink()


async def test_without_a_sink_nothing_is_looked_up() -> None:
    hosts = Hosts()
    opener = make_opener(hosts, None)
    await opener.find_sink()
    assert hosts.asked == []
    assert opener._endpoint(ROUTE) == ("192.0.2.1", 25)


@pytest.mark.parametrize(
    ("port", "level", "mode"),
    [
        (25, SecurityLevel.OPTIONAL, TlsMode.NEVER),
        (25, SecurityLevel.OPPORTUNISTIC, TlsMode.OPPORTUNISTIC),
        (25, SecurityLevel.REQUIRED, TlsMode.REQUIRED),
        (587, SecurityLevel.VERIFIED, TlsMode.REQUIRED),
        (25, SecurityLevel.DANE, TlsMode.REQUIRED),
        *[(465, level, TlsMode.IMMEDIATE) for level in SecurityLevel],
    ],
)
async def test_what_is_asked_of_the_dialogue(port: int, level: SecurityLevel, mode: TlsMode) -> None:
    opener = make_opener(Hosts(), None)
    assert opener._tls_mode(Route(None, "192.0.2.1", port, TlsPolicy(level))) is mode


@pytest.mark.parametrize("level", list(SecurityLevel))
async def test_where_tls_did_not_work_only_those_go_without_it_who_may(level: SecurityLevel) -> None:
    opener = make_opener(Hosts(), None)
    opener._clear.remember(("192.0.2.1", 25), asyncio.get_running_loop().time())
    mode = opener._tls_mode(Route(None, "192.0.2.1", 25, TlsPolicy(level)))
    assert mode is (TlsMode.FORBIDDEN if level < SecurityLevel.REQUIRED else TlsMode.REQUIRED)


async def test_a_shortage_of_this_host_is_told_once_a_minute() -> None:
    class Network:
        async def connect(self, *_: object) -> None:
            raise LocalShortageError("Too many open files")

    class Loop:
        def __init__(self) -> None:
            self.now = asyncio.get_running_loop().time() + 1000

        def time(self) -> float:
            return self.now

    network: Any = Network()
    loop: Any = Loop()
    names: Any = None
    observer = RecordingObserver()
    opener = SessionOpener(network, names, SmtpTimeouts(), loop, DialogueRules(), observer)
    lane: Any = SimpleNamespace(route=ROUTE)
    for seconds, told in ((0, 1), (59, 1), (2, 2)):
        loop.now += seconds
        with pytest.raises(LocalShortageError):
            await opener.open(lane, loop.now + 300, NO_DEMAND)
        assert len(observer.warnings) == told
    assert observer.warnings[0].text == "no connection can be opened: Too many open files; mail waits until one can"
