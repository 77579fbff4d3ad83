"""Local addresses, names and ports."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import MemoryResolver
from relayq.cli.doctor import addresses
from relayq.cli.doctor.addresses import address_checks, look_at_local_ips, look_at_ports
from relayq.cli.doctor.finding import Finding, Verdict
from relayq.config import Settings
from tests.unit.cli.doctor.settings import settings

PUBLIC = "1.2.3.4"  # nothing is sent there


@pytest.fixture
def resolver() -> MemoryResolver:
    return MemoryResolver(SystemClock())


async def names(resolver: MemoryResolver, *options: str) -> dict[str, Finding]:
    """Findings of the check of names, by subject."""
    found = {}
    for check in address_checks(settings(*options), resolver, 5.0):
        if check.subject not in {"sending", "ports"}:
            found.update({finding.subject: finding for finding in await check.examine()})
    return found


def test_addresses_of_this_host_and_others() -> None:
    own_name, well, foreign = look_at_local_ips(settings("--smtp-default-ips=127.0.0.5,192.0.2.77"))
    assert (own_name.verdict, well.verdict, foreign.verdict) == (Verdict.OK, Verdict.OK, Verdict.WRONG)
    assert foreign.subject == "smtp-default-ips 192.0.2.77"
    assert "ip address add 192.0.2.77/32" in foreign.fix


def test_a_host_without_any_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "source_address", lambda _family: None)
    _, no_way, no_ipv6 = look_at_local_ips(settings("--smtp-out-ipv6=yes"))
    assert (no_way.verdict, no_ipv6.verdict) == (Verdict.WARNING, Verdict.WARNING)
    monkeypatch.setattr(addresses, "source_address", lambda family: PUBLIC if family == socket.AF_INET else None)
    _, way = look_at_local_ips(settings())
    assert (way.verdict, PUBLIC in way.found) == (Verdict.OK, True)


@pytest.mark.parametrize(
    ("options", "subject", "verdict"),
    [
        (["--hostname=mail.example.org"], "hostname", Verdict.OK),
        (["--hostname=mail"], "hostname", Verdict.WARNING),
        (["--hostname=mail.localdomain"], "hostname", Verdict.WARNING),
        (["--hostname=mail", "--smtp-out-hostname=mx.example.org"], "smtp-out-hostname", Verdict.OK),
    ],
)
def test_own_name(options: list[str], subject: str, verdict: Verdict) -> None:
    finding = next(look_at_local_ips(settings(*options)))
    assert (finding.subject, finding.verdict) == (subject, verdict)


async def test_reverse_names(resolver: MemoryResolver) -> None:
    options = [f"--smtp-default-ips={PUBLIC},10.0.0.1", "--smtp-out-hostname=mx.example.org"]
    found = await names(resolver, *options)
    assert found[f"reverse name of {PUBLIC}"].verdict is Verdict.WARNING
    assert found["reverse name of 10.0.0.1"].verdict is Verdict.UNKNOWN

    resolver.set_name(PUBLIC, "host.example.org")
    found = await names(resolver, *options)
    assert found[f"reverse name of {PUBLIC}"].found == "host.example.org"
    assert found["smtp-out-hostname"].verdict is Verdict.WARNING
    assert "host.example.org" in found["smtp-out-hostname"].fix

    resolver.set_addresses("mx.example.org", PUBLIC)
    assert "smtp-out-hostname" not in await names(resolver, *options)


@pytest.mark.parametrize("key", ["smarthost", "smtp-sink-address"])
async def test_the_host_everything_goes_to(resolver: MemoryResolver, key: str) -> None:
    assert (await names(resolver, f"--{key}=127.0.0.1"))[key].verdict is Verdict.OK
    assert (await names(resolver, f"--{key}=relay.example"))[key].verdict is Verdict.WRONG
    resolver.set_addresses("relay.example", "192.0.2.1")
    found = await names(resolver, f"--{key}=relay.example", f"--smtp-default-ips={PUBLIC}")
    assert (found[key].verdict, len(found)) == (Verdict.OK, 1)


def with_ports(*ports: int) -> Settings:
    """As if a listener were configured."""
    known = settings()
    effective = dict(known.effective)
    effective["www-port"] = replace(effective["www-port"], value=ports)
    return replace(known, effective=effective)


@pytest.mark.parametrize(
    ("answer", "verdict", "text"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n", Verdict.OK, "is ready"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 8\r\n\r\nblocked\n", Verdict.WARNING, "not ready: blocked"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", Verdict.WARNING, "in use"),
        (b"220 mail.example.org ESMTP\r\n", Verdict.WARNING, "in use"),
        (b"", Verdict.WARNING, "in use"),
    ],
)
def test_a_server_that_runs(answer: bytes, verdict: Verdict, text: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        (finding,) = look_at_ports(with_ports(listener.getsockname()[1]))
        serving.join()
    assert (finding.verdict, text in finding.found) == (verdict, True)


def test_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "SERVER_PATIENCE", 0.05)
    assert list(look_at_ports(settings())) == []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        (finding,) = look_at_ports(with_ports(taken))
        assert finding.verdict is Verdict.WARNING
        assert f"sport = :{taken}" in finding.fix
    (finding,) = look_at_ports(with_ports(taken))
    assert finding.verdict is Verdict.OK
