from __future__ import annotations

import pytest

from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.ports import DnsAnswer, DnsError, DnsFailureKind, MxRecord, Resolver


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_answers_come_from_the_cache_until_they_expire(clock: ManualClock) -> None:
    resolver = MemoryResolver(clock)
    port: Resolver = resolver
    resolver.set_mx("example.test", [(10, "mx.example.test")], ttl=60, authentic=True)
    expected = DnsAnswer((MxRecord(10, "mx.example.test"),), clock.monotonic() + 60, is_authentic=True)
    assert port.cached_mx("example.test") is None
    assert await port.fetch_mx("example.test") == expected
    assert await port.fetch_mx("example.test") == expected
    assert port.cached_mx("example.test") == expected
    assert resolver.questions == [("MX", "example.test")]
    clock.advance(60)
    assert port.cached_mx("example.test") is None


async def test_addresses_are_told_apart_by_family(clock: ManualClock) -> None:
    resolver = MemoryResolver(clock)
    resolver.set_addresses("mx.example.test", "127.0.0.1", "::1", "127.0.0.2")
    resolver.set_addresses("old.example.test", "127.0.0.3")
    assert (await resolver.fetch_addresses("mx.example.test", ipv6=False)).records == ("127.0.0.1", "127.0.0.2")
    assert (await resolver.fetch_addresses("mx.example.test", ipv6=True)).records == ("::1",)
    assert (await resolver.fetch_addresses("old.example.test", ipv6=True)).records == ()


async def test_unknown_names_do_not_exist(clock: ManualClock) -> None:
    with pytest.raises(DnsError) as caught:
        await MemoryResolver(clock).fetch_addresses("nobody.test", ipv6=False)
    assert caught.value.kind is DnsFailureKind.NXDOMAIN
    assert "nobody.test" in str(caught.value)


async def test_failures_are_remembered_and_replaced(clock: ManualClock) -> None:
    resolver = MemoryResolver(clock)
    resolver.fail_mx("example.test", DnsFailureKind.TIMEOUT)
    resolver.fail_addresses("mx.example.test", DnsFailureKind.UNUSABLE)
    assert resolver.cached_mx("example.test") is None
    for _ in range(2):
        with pytest.raises(DnsError):
            await resolver.fetch_mx("example.test")
    with pytest.raises(DnsError):
        resolver.cached_mx("example.test")
    with pytest.raises(DnsError):
        await resolver.fetch_addresses("mx.example.test", ipv6=True)
    assert len(resolver.questions) == 2
    clock.advance(1000)
    assert resolver.cached_mx("example.test") is None
    resolver.set_mx("example.test", [])
    assert (await resolver.fetch_mx("example.test")).records == ()


def test_warm_resolver_needs_no_fetch(clock: ManualClock) -> None:
    resolver = MemoryResolver(clock, warm=True)
    resolver.set_addresses("mx.example.test", "127.0.0.1")
    answer = resolver.cached_addresses("mx.example.test", ipv6=False)
    assert answer is not None
    assert answer.records == ("127.0.0.1",)
    with pytest.raises(DnsError):
        resolver.cached_mx("nobody.test")


async def test_names_of_addresses(clock: ManualClock) -> None:
    resolver = MemoryResolver(clock)
    resolver.set_name("127.0.0.1", "mx.example.test")
    assert await resolver.fetch_name("127.0.0.1") == "mx.example.test"
    assert await resolver.fetch_name("127.0.0.2") is None
    assert resolver.questions == [("PTR", "127.0.0.1"), ("PTR", "127.0.0.2")]
