"""What chains were worth when messages came, with keys from DNS (spec html-css-dkim.md 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.compose.arc import NEW, Arrival
from relayq.compose.arc_chain import ChainValue
from relayq.delivery import arrivals as module
from relayq.delivery.arrivals import Arrivals
from relayq.ports import DnsAnswer, DnsFailureKind
from tests.unit.compose.test_arc import MESSAGE, NAME, NOW, records, seal

T = TypeVar("T")


class Desk:
    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.resolver = MemoryResolver(self.clock)
        self.warnings: list[str] = []
        self.arrivals = Arrivals(self.resolver, self.clock, lambda _, text: self.warnings.append(text))


async def test_without_a_chain_nobody_is_asked() -> None:
    desk = Desk()
    assert await desk.arrivals.judge(MESSAGE) is NEW


async def test_chains_are_judged_with_the_keys_of_their_sealers() -> None:
    desk = Desk()
    desk.resolver.set_txt(NAME, records()[NAME])
    assert await desk.arrivals.judge(seal()) == Arrival(1, ChainValue.PASS)
    assert await desk.arrivals.judge(seal().replace(b"Hello", b"Hallo")) == Arrival(1, ChainValue.FAIL)
    twice = seal(seal(), Arrival(1, ChainValue.PASS))
    assert await desk.arrivals.judge(twice) == Arrival(2, ChainValue.PASS)


async def test_large_messages_are_read_beside_the_loop() -> None:
    desk = Desk()
    desk.resolver.set_txt(NAME, records()[NAME])
    done: list[object] = []

    async def off_loop(work: Callable[[], T]) -> T:
        done.append(result := work())
        return result

    assert await desk.arrivals.judge(seal(), off_loop) == Arrival(1, ChainValue.PASS)
    assert len(done) == 2


async def test_a_huge_header_is_not_searched_for_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_chain", lambda header: pytest.fail("searched"))
    desk = Desk()
    assert await desk.arrivals.judge(b"X: y\r\n" * 50_000 + MESSAGE) is None
    assert desk.warnings == ["no ARC set: header of more than 262144 octets"]


async def test_keys_that_do_not_exist_fail_the_chain() -> None:
    desk = Desk()
    assert await desk.arrivals.judge(seal()) == Arrival(1, ChainValue.FAIL)
    desk.resolver.set_txt(NAME)
    assert await desk.arrivals.judge(seal()) == Arrival(1, ChainValue.FAIL)
    assert desk.warnings == []


async def test_nothing_is_added_above_a_seal_that_says_fail() -> None:
    desk = Desk()
    ended = seal(seal(), Arrival(1, ChainValue.FAIL))
    assert await desk.arrivals.judge(ended) is None
    assert desk.warnings == []


async def test_what_cannot_be_told_is_said() -> None:
    desk = Desk()
    assert await desk.arrivals.judge(seal().replace(b"ARC-Seal: i=1", b"ARC-Seal: i=7")) is None
    desk.resolver.fail_txt(NAME, DnsFailureKind.TIMEOUT)
    assert await desk.arrivals.judge(seal()) is None
    assert [warning.split(":")[0] for warning in desk.warnings] == ["no ARC set"] * 2


async def test_nobody_waits_long_for_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKUP_SECONDS", 0.01)
    desk = Desk()

    async def never(name: str) -> DnsAnswer:
        del name
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(desk.resolver, "fetch_txt", never)
    assert await desk.arrivals.judge(seal()) is None
    assert desk.warnings == ["no ARC set: public keys were not found in time"]
