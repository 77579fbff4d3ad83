"""Name servers that answer, stay silent, lie, or know nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from relayq.adapters.dns.options import NameServer
from relayq.cli.doctor.finding import Finding, Verdict
from relayq.cli.doctor.name_servers import ServerAnswer, judge_patience, judge_servers, name_server_checks
from tests.support.dns_server import FakeDnsServer, Misbehaviour
from tests.support.ports import free_port
from tests.unit.cli.doctor.settings import settings

SOA = "a.root.test. admin.test. 1 3600 600 86400 300"
NONE = Path("/nonexistent")


async def look(*servers: str, limit: float = 10.0, **options: str) -> list[Finding]:
    words = [f"--{key}={value}" for key, value in options.items()]
    (check,) = name_server_checks(settings(f"--dns-nameservers={','.join(servers)}", *words), NONE, limit)
    return list(await check.examine())


def server(misbehaviour: Misbehaviour | None = None) -> FakeDnsServer:
    server = FakeDnsServer()
    server.add(".", "SOA", SOA)
    if misbehaviour is not None:
        server.default = misbehaviour
    return server


async def test_a_good_server() -> None:
    async with server() as good:
        well, dane = await look(good.address)
    assert (well.verdict, dane.verdict) == (Verdict.OK, Verdict.OK)
    assert well.found.startswith("answers within ")
    assert "no validating resolver" in dane.found


async def test_a_validating_one_on_this_host() -> None:
    async with server(Misbehaviour(authentic=True)) as good:
        well, dane = await look(good.address)
        (only,) = await look(good.address, dane="never")
    assert "validates DNSSEC" in well.found
    assert "are honoured" in dane.found
    assert only.subject.startswith("name server")


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
async def test_one_that_does_not_resolve(code: str) -> None:
    async with server(Misbehaviour(rcode=code)) as bad:
        finding = (await look(bad.address))[0]
    assert finding.verdict is Verdict.WRONG
    assert code in finding.found


async def test_a_silent_one() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        finding = (await look(f"127.0.0.1:{silent.getsockname()[1]}", limit=0.2))[0]
    assert (finding.verdict, finding.found) == (Verdict.WRONG, "no answer within 0.1 s")


async def test_one_that_is_not_there_is_told_at_once() -> None:
    finding = (await look(f"127.0.0.1:{free_port()}", limit=60))[0]
    assert (finding.verdict, finding.found) == (Verdict.WRONG, "Connection refused")


async def test_one_of_two_is_only_a_warning() -> None:
    async with server() as good:
        findings = await look(f"127.0.0.1:{free_port()}", good.address)
    assert [finding.verdict for finding in findings[:2]] == [Verdict.WARNING, Verdict.OK]


@pytest.mark.parametrize("octets", [b"", b"{id}", b"{id}\x81\x80\x00\x01", b"\xff" * 600])
async def test_one_that_sends_rubbish(octets: bytes) -> None:
    async with server(Misbehaviour(raw=octets, tcp_raw=octets)) as bad:
        finding = (await look(bad.address, limit=0.2))[0]
    assert finding.verdict is Verdict.WRONG


async def test_one_without_tcp() -> None:
    async with server(Misbehaviour(is_deaf_to_tcp=True)) as deaf:
        first, second, _ = await look(deaf.address, limit=2)
    assert (first.verdict, second.verdict) == (Verdict.WARNING, Verdict.OK)
    assert "TCP" in first.found


def test_one_that_makes_up_names_is_wrong_beside_good_ones() -> None:
    servers = (NameServer("192.0.2.1"), NameServer("192.0.2.2", 5353))
    findings = list(judge_servers(servers, [ServerAnswer(0, 0.01, False, True, True), ServerAnswer(0, 2.0, tcp=True)]))
    assert [finding.verdict for finding in findings] == [Verdict.WRONG, Verdict.OK, Verdict.WARNING]
    assert "does not exist" in findings[0].found
    assert findings[2].subject == "name server 192.0.2.2 port 5353"


async def test_the_servers_of_the_system_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.77\n")
    (check,) = name_server_checks(settings(), path, 5.0)
    assert "127.0.0.77" in next(iter(await check.examine())).subject


def test_a_look_up_must_end_in_time() -> None:
    assert list(judge_patience(settings())) == []
    (finding,) = judge_patience(settings("--dns-timeout=600"))
    assert "dns-timeout" in finding.fix
