"""Room for octets, shared."""

from __future__ import annotations

import asyncio

import pytest

from relayq.delivery.room import Room


class Guest:
    """Somebody who wants room, and keeps it until told."""

    def __init__(self, room: Room, octets: int) -> None:
        self.is_in = False
        self._go = asyncio.Event()
        self.task = asyncio.create_task(self._stay(room, octets))

    async def _stay(self, room: Room, octets: int) -> None:
        async with room.take(octets):
            self.is_in = True
            await self._go.wait()
        self.is_in = False

    async def leave(self) -> None:
        self._go.set()
        await self.task
        await asyncio.sleep(0)


async def enter(room: Room, *octets: int) -> list[Guest]:
    guests = [Guest(room, wanted) for wanted in octets]
    await asyncio.sleep(0)
    return guests


async def test_those_behind_wait_in_order() -> None:
    room = Room(100)
    first, second, third = await enter(room, 60, 50, 10)
    assert [guest.is_in for guest in (first, second, third)] == [True, False, False]
    await first.leave()
    assert [guest.is_in for guest in (second, third)] == [True, True]
    await second.leave()
    await third.leave()
    assert room._free == 100


async def test_who_wants_more_than_there_is_gets_all() -> None:
    room = Room(100)
    small, large, next_one = await enter(room, 1, 1000, 1)
    assert (small.is_in, large.is_in) == (True, False)
    await small.leave()
    assert (large.is_in, next_one.is_in) == (True, False)
    await large.leave()
    assert next_one.is_in
    await next_one.leave()
    assert room._free == 100


async def test_who_goes_away_while_waiting_makes_way() -> None:
    room = Room(100)
    first, second, third = await enter(room, 60, 100, 10)
    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task
    await asyncio.sleep(0)
    assert third.is_in
    await first.leave()
    await third.leave()
    assert room._free == 100


async def test_who_goes_away_in_the_moment_of_being_let_in_gives_it_back() -> None:
    room = Room(100)
    first, second, third = await enter(room, 100, 100, 100)
    first._go.set()
    await asyncio.sleep(0)
    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task
    await asyncio.sleep(0)
    assert third.is_in
    await third.leave()
    assert room._free == 100


async def test_who_was_cancelled_but_does_not_know_yet_is_passed_over() -> None:
    room = Room(100)
    first, second, third = await enter(room, 100, 100, 100)
    second.task.cancel()
    first._go.set()
    await asyncio.gather(first.task, second.task, return_exceptions=True)
    await asyncio.sleep(0)
    assert third.is_in
    await third.leave()
    assert room._free == 100
