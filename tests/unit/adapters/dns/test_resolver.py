"""Local knowledge of the resolver: override table and hosts file, without any query."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relayq.adapters.dns import DnsOptions, DnsResolver, NameServer, Overrides
from relayq.adapters.memory import ManualClock
from relayq.ports import MxRecord, Resolver


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def resolver(clock: ManualClock, tmp_path: Path) -> AsyncIterator[DnsResolver]:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.1 listed.test\n2001:db8::1 listed.test\n192.0.2.2 v4.test\n", encoding="ascii")
    overrides = Overrides({"example.test": ["192.0.2.9:2525", "2001:db8::9"], "*.v4.test": ["192.0.2.8"]})
    # Port 1 of a loopback address nobody uses: a query would fail at once.
    options = DnsOptions(nameservers=(("127.9.9.9", 1),), hosts_path=hosts, attempts=1, timeout=0.1)
    made = DnsResolver(options, clock, random.Random(1), overrides)
    yield made
    assert made.statistics.lookups == 0
    await made.close()


async def test_it_is_a_resolver(resolver: Resolver) -> None:
    assert resolver.cached_mx("unknown.test") is None


async def test_an_override_replaces_mail_exchangers_and_addresses(resolver: DnsResolver, clock: ManualClock) -> None:
    mx = resolver.cached_mx("example.test")
    assert mx is not None
    assert mx.records == (MxRecord(0, "example.test"),)
    v4 = resolver.cached_addresses("example.test", ipv6=False)
    v6 = await resolver.fetch_addresses("example.test", ipv6=True)
    assert v4 is not None
    assert (v4.records, v4.ports) == (("192.0.2.9",), (2525,))
    assert (v6.records, v6.ports) == (("2001:db8::9",), (None,))
    assert not v6.is_authentic
    assert mx.expires_at <= clock.monotonic() + 5


async def test_a_family_the_override_does_not_name_is_empty(resolver: DnsResolver) -> None:
    assert (await resolver.fetch_addresses("mx.v4.test", ipv6=True)).records == ()
    assert (await resolver.fetch_mx("mx.v4.test")).records == (MxRecord(0, "mx.v4.test"),)


async def test_the_override_table_can_be_replaced(resolver: DnsResolver) -> None:
    resolver.set_overrides(Overrides({"other.test": ["192.0.2.7"]}))
    assert resolver.cached_mx("example.test") is None
    assert (await resolver.fetch_addresses("other.test", ipv6=False)).records == ("192.0.2.7",)


async def test_the_hosts_file_answers_for_both_families(resolver: DnsResolver) -> None:
    assert (await resolver.fetch_addresses("listed.test", ipv6=False)).records == ("192.0.2.1",)
    assert (await resolver.fetch_addresses("listed.test", ipv6=True)).records == ("2001:db8::1",)
    assert (await resolver.fetch_addresses("v4.test", ipv6=True)).records == ()
    assert resolver.cached_mx("listed.test") is None


async def test_a_changed_hosts_file_is_noticed(resolver: DnsResolver, clock: ManualClock, tmp_path: Path) -> None:
    assert resolver.cached_addresses("new.test", ipv6=False) is None
    (tmp_path / "hosts").write_text("192.0.2.77 new.test\n", encoding="ascii")
    clock.advance(5)
    answer = resolver.cached_addresses("new.test", ipv6=False)
    assert answer is not None
    assert answer.records == ("192.0.2.77",)
    assert resolver.cached_addresses("listed.test", ipv6=False) is None


def make(clock: ManualClock, **options: object) -> DnsResolver:
    return DnsResolver(DnsOptions(**options), clock, random.Random(1))  # type: ignore[arg-type]


def test_a_name_server_that_cannot_be_read_is_refused(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="ns\\.test"):
        make(clock, nameservers=(("ns.test", 53),))


def test_the_system_is_asked_unless_servers_are_given(clock: ManualClock, tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 192.0.2.53\n", encoding="ascii")
    assert make(clock, resolv_conf_path=resolv_conf)._servers() == (NameServer("192.0.2.53"),)
    trusting = make(clock, resolv_conf_path=resolv_conf, trust_ad=True)
    assert trusting._servers() == (NameServer("192.0.2.53", 53, is_trusted=True),)
    given = make(clock, resolv_conf_path=resolv_conf, nameservers=(("192.0.2.54", 5353),))
    assert given._servers() == (NameServer("192.0.2.54", 5353),)


def test_a_failed_reconfiguration_changes_nothing(clock: ManualClock) -> None:
    resolver = make(clock, nameservers=(("192.0.2.1", 53),))
    with pytest.raises(ValueError, match="nonsense"):
        resolver.reconfigure(DnsOptions(nameservers=(("nonsense", 53),)))
    assert resolver._servers() == (NameServer("192.0.2.1"),)
    resolver.reconfigure(DnsOptions(nameservers=(("192.0.2.2", 53),)))
    assert resolver._servers() == (NameServer("192.0.2.2"),)
