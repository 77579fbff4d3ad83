"""The name in EHLO: configured, confirmed by reverse look-up, or of last resort."""

from __future__ import annotations

import asyncio

import pytest

from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.delivery import names
from relayq.delivery.names import REMEMBER_SECONDS, EhloNames
from relayq.ports import DnsError, DnsFailureKind

PUBLIC = "9.9.9.9"
PUBLIC6 = "2620:fe::fe"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def resolver(clock: ManualClock) -> MemoryResolver:
    return MemoryResolver(clock)


def make(
    resolver: MemoryResolver, clock: ManualClock, *, configured: str = "", hostname: str = "host.test"
) -> EhloNames:
    return EhloNames(configured, hostname, resolver, clock.monotonic)


async def test_a_configured_name_is_used_without_asking(resolver: MemoryResolver, clock: ManualClock) -> None:
    resolver.set_name(PUBLIC, "mta.example.test")
    assert await make(resolver, clock, configured="out.test").name_for(PUBLIC) == "out.test"
    assert resolver.questions == []


async def test_the_reverse_name_is_used_and_remembered(resolver: MemoryResolver, clock: ManualClock) -> None:
    resolver.set_name(PUBLIC, "mta.example.test")
    ehlo = make(resolver, clock)
    for _ in range(3):
        assert await ehlo.name_for(PUBLIC) == "mta.example.test"
    assert len(resolver.questions) == 1
    clock.advance(REMEMBER_SECONDS + 1)
    resolver.set_name(PUBLIC, "new.example.test")
    assert await ehlo.name_for(PUBLIC) == "new.example.test"


async def test_without_one_the_hostname_is_used_and_that_is_remembered_too(
    resolver: MemoryResolver, clock: ManualClock
) -> None:
    ehlo = make(resolver, clock)
    for _ in range(3):
        assert await ehlo.name_for(PUBLIC) == "host.test"
    assert len(resolver.questions) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1", ""])
async def test_private_addresses_are_not_looked_up(resolver: MemoryResolver, clock: ManualClock, address: str) -> None:
    assert await make(resolver, clock).name_for(address) == "host.test"
    assert resolver.questions == []


@pytest.mark.parametrize(
    ("address", "expected"), [(PUBLIC, f"[{PUBLIC}]"), (PUBLIC6, f"[IPv6:{PUBLIC6}]"), ("10.0.0.1", "[10.0.0.1]")]
)
async def test_without_any_name_it_is_the_address(
    resolver: MemoryResolver, clock: ManualClock, address: str, expected: str
) -> None:
    assert await make(resolver, clock, hostname="").name_for(address) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b.test",
        "x\r\nMAIL FROM:<a@b.test>",
        "ü.test",
        ".test",
        "a..test",
        "x" * 64 + ".test",
        "a." * 130 + "t",
        "a.test\n",
    ],
)
async def test_a_reverse_name_that_is_no_host_name_is_ignored(
    resolver: MemoryResolver, clock: ManualClock, name: str
) -> None:
    resolver.set_name(PUBLIC, name)
    assert await make(resolver, clock).name_for(PUBLIC) == "host.test"


async def test_a_resolver_that_fails_or_hangs_is_not_waited_for(
    resolver: MemoryResolver, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(address: str) -> str | None:
        raise DnsError(DnsFailureKind.TIMEOUT, address)

    async def hang(address: str) -> str | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(names, "LOOKUP_SECONDS", 0.01)
    for trouble in (fail, hang):
        monkeypatch.setattr(resolver, "fetch_name", trouble)
        assert await make(resolver, clock).name_for(PUBLIC) == "host.test"
