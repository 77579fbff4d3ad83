from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from relayq.adapters.memory import ManualClock, MemoryStore, RecordingObserver
from relayq.delivery import store_keeper as module
from relayq.delivery.bodies import STORE_PAUSE_SECONDS, Bodies, BodyRules, Brake
from relayq.model import DeliveryError, DeliveryState, ResultType, Scope
from relayq.ports import StoreError
from tests.support.engine import eventually


class Desk:
    """`Bodies` on a store in memory, and what is around them."""

    def __init__(self, timeout: float = 5.0) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.bodies = Bodies(self.store, BodyRules(timeout=timeout, reschedule=77.0), self.clock, self.observer)

    async def failed_load(self, key: str = "k") -> DeliveryError:
        with pytest.raises(DeliveryError) as caught:
            await self.bodies.load(key)
        return caught.value

    def hang(self) -> None:
        async def before(verb: str, key: str) -> None:
            await asyncio.get_running_loop().create_future()

        self.store.before = before

    async def save(self, key: str = "k") -> bool:
        return await self.bodies.save(key, b"body", self.clock.now())

    @property
    def warnings(self) -> list[str]:
        return [warning.text for warning in self.observer.warnings]


@pytest.fixture
async def desk() -> Desk:
    return Desk()


def cell(error: DeliveryError) -> tuple[DeliveryState, ResultType, Scope, float | None]:
    return error.state, error.result, error.scope, error.retry_after


NOTHING_THERE = (DeliveryState.STORAGE, ResultType.ERROR, Scope.MESSAGE, None)
NO_ANSWER = (DeliveryState.STORAGE, ResultType.TIMEOUT, Scope.MESSAGE, 77.0)


async def test_a_body_is_loaded(desk: Desk) -> None:
    desk.store.bodies["k"] = b"body"
    assert await desk.bodies.load("k") == b"body"
    assert desk.bodies.counts.hits == 1


async def test_an_unknown_key(desk: Desk) -> None:
    assert cell(await desk.failed_load()) == NOTHING_THERE
    assert desk.bodies.counts.misses == 1


async def test_a_damaged_entry(desk: Desk) -> None:
    desk.store.damage("k")
    assert cell(await desk.failed_load()) == NOTHING_THERE
    assert desk.bodies.counts.damaged == 1


async def test_a_store_that_is_down(desk: Desk) -> None:
    desk.store.is_down = True
    error = await desk.failed_load()
    assert cell(error) == NO_ANSWER
    assert error.reason == "down on purpose"


async def test_a_store_that_does_not_answer() -> None:
    desk = Desk(timeout=0.01)
    desk.hang()
    assert cell(await desk.failed_load()) == NO_ANSWER
    assert desk.bodies.counts.outages == 1


async def test_three_outages_in_a_row_make_a_pause(desk: Desk) -> None:
    desk.store.is_down = True
    for is_paused in (False, False, True):
        await desk.failed_load()
        assert desk.bodies.is_paused is is_paused
    assert len(desk.warnings) == 1
    desk.clock.advance(STORE_PAUSE_SECONDS - 0.1)
    assert desk.bodies.is_paused
    desk.clock.advance(0.1)
    assert not desk.bodies.is_paused


async def test_the_next_outage_pauses_again_until_something_works(desk: Desk) -> None:
    desk.store.is_down = True
    for _ in range(3):
        await desk.failed_load()
    desk.clock.advance(STORE_PAUSE_SECONDS)
    await desk.failed_load()
    assert desk.bodies.is_paused
    assert len(desk.warnings) == 1
    desk.clock.advance(STORE_PAUSE_SECONDS)
    desk.store.is_down = False
    await desk.failed_load()  # unknown, but answered
    desk.store.is_down = True
    await desk.failed_load()
    assert not desk.bodies.is_paused


@pytest.mark.parametrize("answer", ["hit", "miss", "damaged"])
async def test_any_answer_ends_the_row(desk: Desk, answer: str) -> None:
    desk.store.is_down = True
    for _ in range(2):
        await desk.failed_load()
    desk.store.is_down = False
    if answer == "hit":
        desk.store.bodies["k"] = b"body"
        await desk.bodies.load("k")
    else:
        if answer == "damaged":
            desk.store.damage("k")
        await desk.failed_load()
    desk.store.is_down = True
    for _ in range(2):
        await desk.failed_load()
    assert not desk.bodies.is_paused


async def test_saving(desk: Desk) -> None:
    assert await desk.save()
    assert desk.store.bodies == {"k": b"body"}
    assert desk.bodies.counts.writes == 1


async def test_saving_that_fails_is_a_warning_and_not_tried_for_ever(desk: Desk) -> None:
    desk.store.is_down = True
    assert [await desk.save() for _ in range(5)] == [False] * 5
    assert len(desk.store.operations) == 3
    assert len(desk.warnings) == 3
    assert desk.bodies.counts.inline == 5
    assert not desk.bodies.is_paused  # reading may still work
    desk.store.is_down = False
    desk.clock.advance(STORE_PAUSE_SECONDS)
    assert await desk.save()


async def test_tidying_never_raises(desk: Desk) -> None:
    desk.store.is_down = True
    for _ in range(3):
        await desk.bodies.delete("k")
        await desk.bodies.prolong("k", desk.clock.now())
    assert len(desk.store.operations) == 3
    assert desk.bodies.counts.untidy == 6
    desk.store.is_down = False
    desk.clock.advance(STORE_PAUSE_SECONDS)
    await desk.bodies.delete("k")
    assert desk.bodies.counts.deletes == 1


async def test_tidying_and_saving_catch_a_bug_of_a_driver(desk: Desk) -> None:
    async def break_down(verb: str, key: str) -> None:
        raise ZeroDivisionError

    desk.store.before = break_down
    await desk.bodies.delete("k")
    assert not await desk.save(), "the content stays in the message"
    assert [type(crash.error) for crash in desk.observer.crashes] == [ZeroDivisionError] * 2


async def test_tidying_takes_no_longer_than_any_operation() -> None:
    desk = Desk(timeout=0.01)
    desk.hang()
    await desk.bodies.delete("k")
    assert "no answer in time" in desk.warnings[0]


# --- the keeper -----------------------------------------------------------------------------------------------------


async def step() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_probes_and_then_sweeps_until_nothing_is_left(desk: Desk) -> None:
    for number in range(2500):
        desk.store.bodies[str(number)] = b""
        desk.store.expiries[str(number)] = desk.clock.now() - timedelta(seconds=1)
    desk.bodies.start()
    await step()
    assert [verb for verb, _ in desk.store.operations] == ["probe", "sweep", "sweep", "sweep"]
    assert not desk.store.bodies
    await desk.bodies.close()
    assert desk.store.is_closed


async def test_it_sweeps_again_and_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.0)
    desk.bodies.start()
    await eventually(lambda: desk.store.operations.count(("sweep", "")) >= 3, "three sweeps")
    await desk.bodies.close()


@pytest.mark.parametrize("error", [StoreError("no"), ZeroDivisionError()], ids=repr)
async def test_it_survives_trouble(desk: Desk, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.0)

    async def fail(verb: str, key: str) -> None:
        raise error

    desk.store.before = fail
    desk.bodies.start()
    await eventually(lambda: len(desk.store.operations) >= 4, "it goes on")
    await desk.bodies.close()
    if isinstance(error, StoreError):
        assert desk.warnings[:2] == ["cannot be used now: no", "removing expired entries failed: no"]
    else:
        assert desk.observer.crashes


async def test_closing_twice_and_without_a_start(desk: Desk) -> None:
    await desk.bodies.close()
    await desk.bodies.close()
    assert desk.store.is_closed


def test_a_brake_that_was_never_pulled() -> None:
    assert not Brake(ManualClock(monotonic=0.0)).is_on
