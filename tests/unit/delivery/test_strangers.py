"""Other machines at the same outbox, as far as the broker's count of consumers tells of them."""

from __future__ import annotations

import pytest

from relayq.adapters.memory import ManualClock, MemoryBroker, RecordingObserver
from relayq.delivery.ledger import OutcomeLedger
from relayq.delivery.strangers import KNOWN_SECONDS, LOOK_SECONDS, SURE_SECONDS, Strangers


class Journal:
    """What a machine knows of its own processes."""

    def __init__(self) -> None:
        self.living = 2
        self.age: float | None = None
        self.notes = 0

    def count_living(self) -> int:
        return self.living

    def note_strangers(self) -> None:
        self.notes += 1

    def strangers_age(self) -> float | None:
        return self.age


class Lookout:
    """A process that looks."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock)
        self.journal = Journal()
        self.observer = RecordingObserver()
        self.ledger = OutcomeLedger(self.clock.monotonic, lambda item: None)
        self.strangers = Strangers(
            self.broker, self.journal, self.ledger, "outbox", 3, self.clock, self.observer  # type: ignore[arg-type]
        )  # fmt: skip

    async def look(self, consumers: int | None, *, after: float = LOOK_SECONDS) -> bool:
        """Whether there are strangers now."""
        self.clock.advance(after)
        self.broker.consumers = consumers
        assert self.strangers.is_due
        await self.strangers.look()
        return self.ledger.has_strangers


@pytest.fixture
def lookout() -> Lookout:
    return Lookout()


async def test_processes_of_this_machine_are_none(lookout: Lookout) -> None:
    for _ in range(3):
        assert not await lookout.look(2 * 3, after=SURE_SECONDS)


async def test_more_consumers_than_ours_for_longer_than_a_dead_connection_is_counted(lookout: Lookout) -> None:
    assert not await lookout.look(7)
    assert not await lookout.look(7, after=SURE_SECONDS - 1.0)
    assert await lookout.look(7, after=LOOK_SECONDS)
    assert await lookout.look(9)
    assert lookout.journal.notes == 2
    assert len(lookout.observer.warnings) == 1


@pytest.mark.parametrize("other", [6, None])
async def test_a_connection_that_the_broker_forgets_in_time_is_none(lookout: Lookout, other: int | None) -> None:
    assert not await lookout.look(7)
    assert not await lookout.look(other)
    assert not await lookout.look(7, after=SURE_SECONDS)


async def test_they_are_reckoned_with_for_a_day(lookout: Lookout) -> None:
    await lookout.look(7)
    await lookout.look(7, after=SURE_SECONDS)
    assert await lookout.look(6, after=KNOWN_SECONDS - 1.0)
    assert not await lookout.look(6)


@pytest.mark.parametrize(("age", "is_known"), [(None, False), (5.0, True), (KNOWN_SECONDS, False)])
async def test_what_an_earlier_process_saw(lookout: Lookout, age: float | None, is_known: bool) -> None:
    lookout.journal.age = age
    lookout.strangers.recall()
    assert lookout.ledger.has_strangers == is_known
