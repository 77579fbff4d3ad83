"""Order and bounds of the gate."""

from __future__ import annotations

import asyncio

import pytest

from relayq.adapters.dns.gate import Gate, GateFullError


class Visitor:
    """A task inside the gate, or on its way, until it is told to leave."""

    def __init__(self, gate: Gate, name: str, log: list[str]) -> None:
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(gate, name, log))

    async def _visit(self, gate: Gate, name: str, log: list[str]) -> None:
        async with gate:
            log.append(name)
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self.task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    gate, log = Gate(2, 10), list[str]()
    visitors = [Visitor(gate, name, log) for name in "abcde"]
    await settle()
    assert log == ["a", "b"]
    await visitors[1].end()
    await settle()
    assert log == ["a", "b", "c"]
    for visitor in visitors:
        await visitor.end()
    assert log == list("abcde")


async def test_only_so_many_wait() -> None:
    gate, log = Gate(1, 1), list[str]()
    visitors = [Visitor(gate, name, log) for name in "ab"]
    await settle()
    with pytest.raises(GateFullError):
        await gate.__aenter__()
    for visitor in visitors:
        await visitor.end()
    await Visitor(gate, "c", log).end()
    assert log == ["a", "b", "c"]


async def test_who_gives_up_waiting_leaves_no_gap() -> None:
    gate, log = Gate(1, 10), list[str]()
    visitors = [Visitor(gate, name, log) for name in "abc"]
    await settle()
    visitors[1].task.cancel()
    await settle()
    await visitors[0].end()
    await settle()
    assert log == ["a", "c"]
    await visitors[2].end()
    await Visitor(gate, "d", log).end()
    assert log == ["a", "c", "d"]


@pytest.mark.parametrize("is_given_first", [True, False])
async def test_cancelled_in_the_same_turn_as_the_place_is_given_back(is_given_first: bool) -> None:
    gate, log = Gate(1, 10), list[str]()
    await gate.__aenter__()
    visitors = [Visitor(gate, name, log) for name in "bc"]
    await settle()
    if is_given_first:
        await gate.__aexit__()
    visitors[0].task.cancel()
    if not is_given_first:
        await gate.__aexit__()
    await settle()
    assert log == ["c"]
    await visitors[1].end()
    await Visitor(gate, "d", log).end()
    assert log == ["c", "d"]


async def test_more_places_are_used_as_soon_as_one_is_given_back() -> None:
    gate, log = Gate(1, 10), list[str]()
    visitors = [Visitor(gate, name, log) for name in "abcd"]
    await settle()
    gate.capacity = 3
    await visitors[0].end()
    await settle()
    assert log == ["a", "b", "c", "d"]
    for visitor in visitors:
        await visitor.end()
