"""What the resolver makes of servers that are slow, silent, broken or malicious."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import Any, NoReturn

import pytest

from relayq.adapters.dns import conversation as conversation_module
from relayq.adapters.dns import resolver as resolver_module
from relayq.adapters.memory import ManualClock
from relayq.ports import DnsError, DnsFailureKind, MxRecord
from tests.integration.dns.conftest import MakeResolver
from tests.support.dns_server import FakeDnsServer, Misbehaviour
from tests.support.ports import free_port

MX = (MxRecord(10, "mx.test"),)
HEADER_WITH_ANSWER = b"{id}\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
QUESTION = b"\x07example\x04test\x00\x00\x0f\x00\x01"
FOR_EVER = 1000.0
QUICK = {"interval": 0.1, "timeout": 0.2}
"""For servers that say nothing of use."""
PATIENCE = 90.0


@pytest.fixture(autouse=True)
def _zone(server: FakeDnsServer) -> None:
    server.add("example.test", "MX", "10 mx.test.")


async def kind_of_failure(resolver: object, name: str = "example.test") -> DnsFailureKind:
    with pytest.raises(DnsError) as caught:
        await resolver.fetch_mx(name)  # type: ignore[attr-defined]
    return caught.value.kind


async def test_a_lost_query_is_sent_again(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(drop=2))
    assert (await make_resolver(server, interval=0.1).fetch_mx("example.test")).records == MX
    assert len(server.questions) == 3


async def test_a_late_answer_to_an_earlier_query_counts(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(delay=0.3))
    resolver = make_resolver(server, attempts=50, interval=0.2, timeout=0)
    assert (await resolver.fetch_mx("example.test")).records == MX
    assert 2 <= len(server.questions) < 50


async def test_silence_is_a_timeout_after_all_queries_and_the_last_wait(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(drop=-1))
    started = time.monotonic()
    assert await kind_of_failure(make_resolver(server, **QUICK)) is DnsFailureKind.TIMEOUT
    assert time.monotonic() - started >= 0.39
    assert len(server.questions) == 3


@pytest.mark.parametrize(
    ("rcode", "kind"),
    [
        ("SERVFAIL", DnsFailureKind.TIMEOUT),
        ("REFUSED", DnsFailureKind.UNUSABLE),
        ("FORMERR", DnsFailureKind.UNUSABLE),
        ("NOTIMP", DnsFailureKind.UNUSABLE),
        ("NOTAUTH", DnsFailureKind.UNUSABLE),
    ],
)
async def test_response_codes_and_their_meaning(
    server: FakeDnsServer, make_resolver: MakeResolver, rcode: str, kind: DnsFailureKind
) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(rcode=rcode))
    async with asyncio.timeout(PATIENCE):
        assert await kind_of_failure(make_resolver(server, interval=FOR_EVER, timeout=FOR_EVER)) is kind


async def test_temporary_failures_are_remembered_for_half_a_minute(
    server: FakeDnsServer, make_resolver: MakeResolver, clock: ManualClock
) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(rcode="SERVFAIL"))
    resolver = make_resolver(server)
    await kind_of_failure(resolver)
    server.misbehave("example.test", "MX", Misbehaviour())
    clock.advance(29.9)
    with pytest.raises(DnsError):
        resolver.cached_mx("example.test")
    assert await kind_of_failure(resolver) is DnsFailureKind.TIMEOUT
    clock.advance(0.1)
    assert (await resolver.fetch_mx("example.test")).records == MX
    assert resolver.statistics.temporary_failures == 1


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
async def test_a_usable_answer_of_another_server_is_preferred(
    server: FakeDnsServer, make_resolver: MakeResolver, rcode: str
) -> None:
    async with FakeDnsServer("127.0.0.2") as broken:
        broken.default = Misbehaviour(rcode=rcode)
        resolver = make_resolver(broken, server, interval=5, timeout=5)
        assert (await resolver.fetch_mx("example.test")).records == MX
        assert len(broken.questions) == 1


async def test_if_any_server_kept_silent_it_is_a_timeout(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.default = Misbehaviour(drop=-1)
    async with FakeDnsServer("127.0.0.2") as broken:
        broken.default = Misbehaviour(rcode="REFUSED")
        assert await kind_of_failure(make_resolver(broken, server, **QUICK)) is DnsFailureKind.TIMEOUT


async def test_a_server_that_is_not_there_is_passed_over_at_once(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    resolver = make_resolver(("127.0.0.3", free_port("127.0.0.3")), server, interval=FOR_EVER, timeout=FOR_EVER)
    async with asyncio.timeout(PATIENCE):
        assert (await resolver.fetch_mx("example.test")).records == MX


async def test_a_server_that_comes_back_is_asked_again(make_resolver: MakeResolver) -> None:
    port = free_port("127.0.0.1")
    resolver = make_resolver(("127.0.0.1", port), attempts=200, interval=0.05)
    question = asyncio.create_task(resolver.fetch_mx("example.test"))
    await asyncio.sleep(0.05)
    async with FakeDnsServer(port=port) as server:
        server.add("example.test", "MX", "10 mx.test.")
        assert (await question).records == MX


async def test_nobody_there_at_all_does_not_wait_for_the_last_timeout(make_resolver: MakeResolver) -> None:
    resolver = make_resolver(("127.0.0.3", free_port("127.0.0.3")), interval=0.05, timeout=FOR_EVER)
    async with asyncio.timeout(PATIENCE):
        assert await kind_of_failure(resolver) is DnsFailureKind.TIMEOUT


async def test_rotation_begins_with_different_servers(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    async with FakeDnsServer("127.0.0.2") as second:
        for one in (server, second):
            for number in range(30):
                one.add(f"n{number}.test", "MX", "10 mx.test.")
        rotating, fixed = make_resolver(server, second, rotate=True), make_resolver(server, second)
        for number in range(30):
            await rotating.fetch_mx(f"n{number}.test")
        assert 5 < len(second.questions) < 25
        before = len(second.questions)
        for number in range(30):
            await fixed.fetch_mx(f"n{number}.test")
        assert len(second.questions) == before


async def test_a_server_that_knows_no_edns_is_asked_without_and_remembered(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.default = Misbehaviour(refuse_edns=True)
    server.add("other.test", "MX", "10 mx.test.")
    resolver = make_resolver(server, interval=5, timeout=5)
    assert (await resolver.fetch_mx("example.test")).records == MX
    assert (await resolver.fetch_mx("other.test")).records == MX
    assert [question.has_edns for question in server.questions] == [True, False, False]


def wrong_identifier(octets: bytes) -> bytes:
    return bytes((octets[0] ^ 1,)) + octets[1:]


def wrong_question(octets: bytes) -> bytes:
    return octets.replace(b"\x07example", b"\x07exbmple", 1)


def no_response(octets: bytes) -> bytes:
    return octets[:2] + bytes((octets[2] & 0x7F,)) + octets[3:]


@pytest.mark.parametrize("spoil", [wrong_identifier, wrong_question, no_response, lambda octets: octets[:11]])
async def test_what_does_not_answer_the_question_is_ignored(
    server: FakeDnsServer, make_resolver: MakeResolver, spoil: object
) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(mangle=spoil))  # type: ignore[arg-type]
    assert await kind_of_failure(make_resolver(server, **QUICK)) is DnsFailureKind.TIMEOUT
    server.misbehave("example.test", "MX", Misbehaviour(strays=lambda octets: [spoil(octets)] * 3))  # type: ignore[operator]
    assert (await make_resolver(server).fetch_mx("example.test")).records == MX


async def test_someone_who_guesses_too_often_is_answered_with_tcp(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(strays=lambda octets: [wrong_identifier(octets)] * 40))
    assert (await make_resolver(server).fetch_mx("example.test")).records == MX
    assert [question.transport for question in server.questions] == ["udp", "tcp"]


@pytest.mark.parametrize(
    "octets",
    [
        HEADER_WITH_ANSWER + QUESTION,
        HEADER_WITH_ANSWER + QUESTION + b"\xc0",
        HEADER_WITH_ANSWER + QUESTION + b"\xff" * 200,
        # The owner name of the answer points to itself.
        HEADER_WITH_ANSWER + QUESTION + b"\xc0\x1e\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x0a\xc0\x0c",
        # The exchange points to itself.
        HEADER_WITH_ANSWER + QUESTION + b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x0a\xc0\x2c",
        # More data announced than there is.
        HEADER_WITH_ANSWER + QUESTION + b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x01\xff\xff\x00\x0a\xc0\x0c",
        HEADER_WITH_ANSWER.replace(b"\x00\x01\x00\x00", b"\xff\xff\xff\xff") + QUESTION + b"\x00",
    ],
)
async def test_malformed_answers_are_unusable(
    server: FakeDnsServer, make_resolver: MakeResolver, octets: bytes
) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(raw=octets))
    resolver = make_resolver(server, interval=FOR_EVER, timeout=FOR_EVER)
    async with asyncio.timeout(PATIENCE):
        assert await kind_of_failure(resolver) is DnsFailureKind.UNUSABLE


async def test_a_referral_says_nothing_about_the_name(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    nameserver = b"\x04test\x00\x00\x02\x00\x01\x00\x00\x00\x3c\x00\x05\x02ns\xc0\x14"
    octets = b"{id}\x81\x00\x00\x01\x00\x00\x00\x01\x00\x00" + QUESTION + nameserver
    server.misbehave("example.test", "MX", Misbehaviour(raw=octets))
    assert await kind_of_failure(make_resolver(server)) is DnsFailureKind.UNUSABLE


async def test_of_a_thousand_mail_exchangers_the_best_are_considered(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.add("example.test", "MX", *[f"{1000 - number} h{number}.test." for number in range(200)])
    answer = await make_resolver(server).fetch_mx("example.test")
    assert {record.preference for record in answer.records} == set(range(801, 901))  # type: ignore[union-attr]


async def test_an_answer_of_64_kib_is_read_in_part(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("example.test", "MX", *[f"{number} h{number}.test." for number in range(2500)])
    answer = await make_resolver(server, interval=FOR_EVER, timeout=FOR_EVER).fetch_mx("example.test")
    assert len(answer.records) == 100


async def test_hosts_that_are_no_host_names_are_left_out(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    bad = ["10 a\\000b.test.", "10 a\\013\\010b.test.", "10 a\\.b.test.", "10 a\\032b.test.", "10 \\195\\188.test."]
    server.add("example.test", "MX", *bad, "20 under_score.test.")
    assert (await make_resolver(server).fetch_mx("example.test")).records == (MxRecord(20, "under_score.test"),)
    server.add("example.test", "MX", *bad)
    assert await kind_of_failure(make_resolver(server)) is DnsFailureKind.UNUSABLE


async def test_a_cname_to_what_is_no_host_name_is_unusable(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.default = Misbehaviour(is_flat=True)
    server.add("a.test", "CNAME", "b\\010.test.")
    assert await kind_of_failure(make_resolver(server), "a.test") is DnsFailureKind.UNUSABLE


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "-" * 64 + ".test", "ä.test", "a b.test", "a\r\nb.test", ".".join(["a" * 60] * 5)]
)
async def test_names_nobody_can_have_are_not_asked_for(
    server: FakeDnsServer, make_resolver: MakeResolver, name: str
) -> None:
    assert await kind_of_failure(make_resolver(server), name) is DnsFailureKind.UNUSABLE
    assert server.questions == []


@pytest.mark.parametrize(
    "misbehaviour",
    [
        Misbehaviour(truncate=True, is_deaf_to_tcp=True),
        Misbehaviour(truncate=True, tcp_raw=b"\x00"),
        Misbehaviour(truncate=True, tcp_raw=b"\x00\x20half an answer"),
    ],
)
async def test_trouble_over_tcp_is_a_timeout(
    server: FakeDnsServer, make_resolver: MakeResolver, misbehaviour: Misbehaviour
) -> None:
    server.misbehave("example.test", "MX", misbehaviour)
    assert await kind_of_failure(make_resolver(server, **QUICK)) is DnsFailureKind.TIMEOUT


async def test_nonsense_over_tcp_is_unusable(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(truncate=True, tcp_raw=b"\x00\x10" + bytes(16)))
    assert await kind_of_failure(make_resolver(server)) is DnsFailureKind.UNUSABLE


async def test_closing_ends_what_is_under_way(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.misbehave("example.test", "MX", Misbehaviour(drop=-1))
    resolver = make_resolver(server, interval=60)
    question = asyncio.create_task(resolver.fetch_mx("example.test"))
    await asyncio.sleep(0.05)
    await resolver.close()
    with pytest.raises(DnsError) as caught:
        await question
    assert caught.value.kind is DnsFailureKind.TIMEOUT
    await resolver.close()


async def test_a_server_that_cannot_be_reached_is_passed_over(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    # The kernel refuses to send there without SO_BROADCAST.
    resolver = make_resolver(("255.255.255.255", 53), server, interval=0.1, timeout=5)
    assert (await resolver.fetch_mx("example.test")).records == MX
    assert await kind_of_failure(make_resolver(("255.255.255.255", 53), timeout=5)) is DnsFailureKind.TIMEOUT


class ScarceSockets:
    """The module ``socket`` of a process that has no descriptors left for its first queries."""

    AF_INET, AF_INET6 = socket.AF_INET, socket.AF_INET6
    SOCK_DGRAM, SOCK_STREAM = socket.SOCK_DGRAM, socket.SOCK_STREAM

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def socket(self, *arguments: Any) -> socket.socket:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return socket.socket(*arguments)


async def test_a_shortage_of_our_own_is_not_held_against_the_server(
    server: FakeDnsServer, make_resolver: MakeResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_module, "socket", ScarceSockets(2))
    assert (await make_resolver(server, interval=0.1).fetch_mx("example.test")).records == MX
    assert len(server.questions) == 1


async def test_an_internal_error_is_a_failure_like_any_other(
    server: FakeDnsServer,
    make_resolver: MakeResolver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> NoReturn:
        raise RuntimeError("surprise")

    monkeypatch.setattr(resolver_module, "extract", broken)
    resolver = make_resolver(server)
    assert await kind_of_failure(resolver) is DnsFailureKind.UNUSABLE
    assert "surprise" in caplog.text
    asked = len(server.questions)
    assert await kind_of_failure(resolver) is DnsFailureKind.UNUSABLE
    assert len(server.questions) == asked, "it is remembered like one"
