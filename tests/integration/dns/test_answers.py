"""What the resolver makes of the answers of a well-behaved server: records, CNAMEs, TTLs, AD, TCP."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from relayq.adapters.memory import ManualClock
from relayq.ports import DnsError, DnsFailureKind, MxRecord, TlsaRecord
from tests.integration.dns.conftest import MakeResolver
from tests.support.dns_server import FakeDnsServer, Misbehaviour


async def test_mail_exchangers_come_in_lower_case_without_the_final_dot(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.add("example.test", "MX", "10 MX1.Example.test.", "20 mx2.example.test.")
    answer = await make_resolver(server).fetch_mx("example.test")
    assert set(answer.records) == {MxRecord(10, "mx1.example.test"), MxRecord(20, "mx2.example.test")}


async def test_a_null_mx_is_the_empty_host(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("example.test", "MX", "0 .")
    assert (await make_resolver(server).fetch_mx("example.test")).records == (MxRecord(0, ""),)


async def test_both_families_are_asked_apart(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("mx.test", "A", "192.0.2.1", "192.0.2.2")
    server.add("mx.test", "AAAA", "2001:db8::1")
    resolver = make_resolver(server)
    assert set((await resolver.fetch_addresses("mx.test", ipv6=False)).records) == {"192.0.2.1", "192.0.2.2"}
    assert (await resolver.fetch_addresses("mx.test", ipv6=True)).records == ("2001:db8::1",)


async def test_a_name_without_records_of_the_type_is_an_empty_answer(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.add("example.test", "A", "192.0.2.1")
    assert (await make_resolver(server).fetch_mx("example.test")).records == ()


async def test_a_name_that_does_not_exist_is_an_error_of_its_own(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    with pytest.raises(DnsError) as caught:
        await make_resolver(server).fetch_mx("missing.test")
    assert caught.value.kind is DnsFailureKind.NXDOMAIN
    assert "missing.test" in str(caught.value)


async def test_texts_and_tlsa_records(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("_mta-sts.example.test", "TXT", '"v=STSv1; " "id=1;"')
    server.add("_25._tcp.mx.test", "TLSA", "3 1 1 " + "ab" * 32)
    resolver = make_resolver(server)
    for _ in range(2):
        assert (await resolver.fetch_txt("_mta-sts.example.test")).records == ("v=STSv1; id=1;",)
    assert (resolver.statistics.lookups, resolver.statistics.hits) == (1, 1)
    assert (await resolver.fetch_tlsa("_25._tcp.mx.test")).records == (TlsaRecord(3, 1, 1, b"\xab" * 32),)


async def test_cnames_are_followed(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("www.test", "CNAME", "real.test.")
    server.add("real.test", "MX", "5 mx.real.test.")
    assert (await make_resolver(server).fetch_mx("www.test")).records == (MxRecord(5, "mx.real.test"),)


async def test_cnames_a_server_does_not_follow_are_followed_by_asking(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.default = Misbehaviour(is_flat=True)
    for number in range(8):
        server.add(f"c{number}.test", "CNAME", f"c{number + 1}.test.")
    server.add("c8.test", "A", "192.0.2.1")
    assert (await make_resolver(server).fetch_addresses("c0.test", ipv6=False)).records == ("192.0.2.1",)


@pytest.mark.parametrize("is_flat", [True, False])
async def test_nine_cnames_are_one_too_many(server: FakeDnsServer, make_resolver: MakeResolver, is_flat: bool) -> None:
    server.default = Misbehaviour(is_flat=is_flat)
    for number in range(9):
        server.add(f"c{number}.test", "CNAME", f"c{number + 1}.test.")
    server.add("c9.test", "A", "192.0.2.1")
    with pytest.raises(DnsError) as caught:
        await make_resolver(server).fetch_addresses("c0.test", ipv6=False)
    assert caught.value.kind is DnsFailureKind.UNUSABLE


@pytest.mark.parametrize("is_flat", [True, False])
async def test_a_circle_of_cnames_ends(server: FakeDnsServer, make_resolver: MakeResolver, is_flat: bool) -> None:
    server.default = Misbehaviour(is_flat=is_flat)
    server.add("a.test", "CNAME", "b.test.")
    server.add("b.test", "CNAME", "a.test.")
    with pytest.raises(DnsError) as caught:
        await make_resolver(server).fetch_mx("a.test")
    assert caught.value.kind is DnsFailureKind.UNUSABLE
    assert len(server.questions) <= 10


async def test_a_cname_to_nothing_does_not_exist(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("a.test", "CNAME", "gone.test.")
    with pytest.raises(DnsError) as caught:
        await make_resolver(server).fetch_mx("a.test")
    assert caught.value.kind is DnsFailureKind.NXDOMAIN


async def test_a_truncated_answer_is_fetched_over_tcp(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("example.test", "A", *[f"192.0.2.{number}" for number in range(1, 100)])
    answer = await make_resolver(server).fetch_addresses("example.test", ipv6=False)
    assert len(answer.records) == 50
    assert [question.transport for question in server.questions] == ["udp", "tcp"]


@pytest.mark.parametrize(("ttl", "seconds"), [(1, 60), (60, 60), (300, 300), (86_400, 86_400), (10_000_000, 86_400)])
async def test_positive_answers_live_as_long_as_their_clamped_ttl(
    server: FakeDnsServer, make_resolver: MakeResolver, clock: ManualClock, ttl: int, seconds: float
) -> None:
    server.add("example.test", "MX", "10 mx.test.", ttl=ttl)
    resolver = make_resolver(server)
    assert resolver.cached_mx("example.test") is None
    answer = await resolver.fetch_mx("example.test")
    assert answer.expires_at == clock.monotonic() + seconds
    clock.advance(seconds - 0.001)
    assert resolver.cached_mx("example.test") == answer
    clock.advance(0.001)
    assert resolver.cached_mx("example.test") is None


async def test_the_shortest_ttl_on_the_way_counts(
    server: FakeDnsServer, make_resolver: MakeResolver, clock: ManualClock
) -> None:
    server.add("a.test", "CNAME", "b.test.", ttl=100)
    server.add("b.test", "CNAME", "c.test.", ttl=200)
    server.add("c.test", "MX", "10 mx.test.", ttl=300)
    assert (await make_resolver(server).fetch_mx("a.test")).expires_at == clock.monotonic() + 100
    server.default = Misbehaviour(is_flat=True)
    assert (await make_resolver(server).fetch_mx("a.test")).expires_at == clock.monotonic() + 100


@pytest.mark.parametrize(
    ("soa_ttl", "soa_minimum", "seconds"), [(10, 500, 60), (500, 10, 60), (100, 200, 100), (9999, 9999, 300)]
)
@pytest.mark.parametrize("name", ["missing.test", "empty.test"])
async def test_negative_answers_live_as_the_soa_says(
    server: FakeDnsServer,
    make_resolver: MakeResolver,
    clock: ManualClock,
    name: str,
    soa_ttl: int,
    soa_minimum: int,
    seconds: float,
) -> None:
    server.soa_ttl, server.soa_minimum = soa_ttl, soa_minimum
    server.add("empty.test", "A", "192.0.2.1")
    resolver = make_resolver(server)
    for wait, queries in ((0, 1), (seconds - 0.001, 1), (0.001, 2)):
        clock.advance(wait)
        with contextlib.suppress(DnsError):
            assert (await resolver.fetch_mx(name)).records == ()
        assert server.count(name, "MX") == queries


async def test_negative_answers_without_soa_live_a_minute(
    server: FakeDnsServer, make_resolver: MakeResolver, clock: ManualClock
) -> None:
    server.default = Misbehaviour(no_soa=True)
    server.add("empty.test", "A", "192.0.2.1")
    answer = await make_resolver(server).fetch_mx("empty.test")
    assert answer.expires_at == clock.monotonic() + 60


async def test_the_ad_flag_of_a_server_on_this_host_is_believed(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.add("signed.test", "MX", "10 mx.test.")
    server.add("plain.test", "MX", "10 mx.test.")
    server.misbehave("signed.test", "MX", Misbehaviour(authentic=True))
    resolver = make_resolver(server)
    assert (await resolver.fetch_mx("signed.test")).is_authentic
    assert not (await resolver.fetch_mx("plain.test")).is_authentic


async def test_one_step_without_ad_makes_the_whole_way_unproven(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.add("a.test", "CNAME", "b.test.")
    server.add("b.test", "MX", "10 mx.test.")
    server.misbehave("a.test", "MX", Misbehaviour(is_flat=True))
    server.misbehave("b.test", "MX", Misbehaviour(authentic=True))
    assert not (await make_resolver(server).fetch_mx("a.test")).is_authentic


async def test_a_thousand_waiters_make_one_query(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("new.test", "MX", "10 mx.test.")
    server.misbehave("new.test", "MX", Misbehaviour(delay=0.02))
    resolver = make_resolver(server)
    answers = await asyncio.gather(*[resolver.fetch_mx("new.test") for _ in range(1000)])
    assert len({id(answer) for answer in answers}) == 1
    assert len(server.questions) == 1
    assert resolver.statistics.lookups == 1


async def test_a_waiter_that_gives_up_takes_nobody_along(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("new.test", "MX", "10 mx.test.")
    server.misbehave("new.test", "MX", Misbehaviour(delay=0.05))
    resolver = make_resolver(server)
    first = asyncio.create_task(resolver.fetch_mx("new.test"))
    second = asyncio.create_task(resolver.fetch_mx("new.test"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).records == (MxRecord(10, "mx.test"),)
    assert first.cancelled()
    assert len(server.questions) == 1


async def test_every_query_has_a_port_and_an_identifier_of_its_own(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    resolver = make_resolver(server)
    for number in range(50):
        server.add(f"n{number}.test", "A", "192.0.2.1")
        await resolver.fetch_addresses(f"n{number}.test", ipv6=False)
    assert len({question.source_port for question in server.questions}) > 40
    assert len({question.query_id for question in server.questions}) > 40


async def test_capacity_bounds_what_is_asked_in_parallel(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.default = Misbehaviour(delay=0.05)
    for number in range(6):
        server.add(f"n{number}.test", "MX", "10 mx.test.")
    resolver = make_resolver(server, capacity=2)
    tasks = [asyncio.create_task(resolver.fetch_mx(f"n{number}.test")) for number in range(6)]
    await tasks[0]
    assert len(server.questions) <= 4
    await asyncio.gather(*tasks)
    assert [question.name for question in server.questions] == [f"n{number}.test" for number in range(6)]


async def test_too_many_waiting_fail_at_once_and_are_not_remembered(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    for name in ("a.test", "b.test", "c.test"):
        server.add(name, "MX", "10 mx.test.")
    server.default = Misbehaviour(delay=0.03)
    resolver = make_resolver(server, capacity=1, waiting=1)
    first = asyncio.create_task(resolver.fetch_mx("a.test"))
    second = asyncio.create_task(resolver.fetch_mx("b.test"))
    await asyncio.sleep(0)
    with pytest.raises(DnsError) as caught:
        await resolver.fetch_mx("c.test")
    assert caught.value.kind is DnsFailureKind.TIMEOUT
    await asyncio.gather(first, second)
    assert (await resolver.fetch_mx("c.test")).records == (MxRecord(10, "mx.test"),)


async def test_a_name_that_resolves_back_is_the_name_of_an_address(
    server: FakeDnsServer, make_resolver: MakeResolver
) -> None:
    server.add("1.2.0.192.in-addr.arpa", "PTR", "gone.test.", "liar.test.", "mta.test.")
    server.add("liar.test", "A", "192.0.2.9")
    server.add("mta.test", "A", "192.0.2.1")
    server.add("2.2.0.192.in-addr.arpa", "PTR", "liar.test.")
    resolver = make_resolver(server)
    assert await resolver.fetch_name("192.0.2.1") == "mta.test"
    assert await resolver.fetch_name("192.0.2.2") is None
    assert await resolver.fetch_name("192.0.2.3") is None
    assert await resolver.fetch_name("no address") is None


async def test_names_of_ipv6_addresses(server: FakeDnsServer, make_resolver: MakeResolver) -> None:
    server.add("1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa", "PTR", "mta.test.")
    server.add("mta.test", "AAAA", "2001:db8::1")
    assert await make_resolver(server).fetch_name("2001:db8::1") == "mta.test"
