"""Composing that takes turns with everything else on the loop."""

from __future__ import annotations

import asyncio

from relayq.delivery.pace import MESSAGE_OCTETS, Pace, Share


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._count)

    def _count(self) -> None:
        self.count += 1
        if self.count < 1000:
            self._loop.call_soon(self._count)


async def test_a_batch_is_spread_over_turns_in_its_order() -> None:
    pace, turns = Pace(0.004), Turns()
    done: list[tuple[int, int]] = []

    async def work(number: int) -> None:
        await pace.turn()
        done.append((number, turns.count))
        pace.spend(0.002)

    await asyncio.gather(*(work(number) for number in range(20)))
    assert [number for number, _ in done] == list(range(20))
    per_turn = [sum(1 for _, turn in done if turn == one) for one in {turn for _, turn in done}]
    assert max(per_turn) <= 2
    assert len(per_turn) >= 10


async def test_what_costs_next_to_nothing_does_not_wait_long() -> None:
    pace, turns = Pace(0.004), Turns()

    async def work() -> None:
        await pace.turn()
        pace.spend(0.00001)

    for _ in range(5):
        await asyncio.gather(*(work() for _ in range(200)))
    assert turns.count < 60


async def test_who_alone_wants_something_gets_it_at_once() -> None:
    pace, turns = Pace(0.004), Turns()
    await pace.turn()
    pace.spend(1.0)
    await asyncio.sleep(0)
    before = turns.count
    await pace.turn()
    assert turns.count == before


async def test_who_gives_up_is_passed_over() -> None:
    pace = Pace(0.004)
    woken, waiting, last = (asyncio.ensure_future(pace.turn()) for _ in range(3))
    pace.spend(1.0)
    await asyncio.sleep(0)
    woken.cancel()
    waiting.cancel()
    await last
    assert woken.cancelled()
    assert waiting.cancelled()


async def test_a_large_message_has_a_turn_of_its_own_and_small_ones_share_one() -> None:
    limit, turns = 10 * MESSAGE_OCTETS, Turns()
    waiting = [MESSAGE_OCTETS] * 10 + [100 * limit] * 3 + [0] * 10
    begun: list[tuple[int, int]] = []

    def go_on() -> None:
        while waiting and share.take(waiting[0]):
            begun.append((turns.count, waiting.pop(0)))

    share = Share(asyncio.get_running_loop(), go_on, limit)
    await asyncio.sleep(0)
    go_on()
    assert len(begun) == 5, "some at once"
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting
    turn_of_large = [turn for turn, octets in begun if octets > limit]
    assert len(set(turn_of_large)) == 3
    assert len({turn for turn, octets in begun if not octets}) <= 2


async def test_a_few_messages_per_turn_never_wait() -> None:
    refused: list[bool] = []
    share = Share(asyncio.get_running_loop(), lambda: None, 10 * MESSAGE_OCTETS)
    for _ in range(100):
        refused += [True for _ in range(4) if not share.take(0)]
        await asyncio.sleep(0)
    assert not refused
