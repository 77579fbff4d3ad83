"""Who may wait in memory (spec delivery.md 2.1, amqp.md 11)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from relayq.delivery.admission import MIN_SHARE, Admission, AdmissionLimits, Ticket

LIMITS = AdmissionLimits(max_queue=50, max_hold=600.0, prefetch=200)
SWEEP = 0.5
OVER, HELD = "destination over capacity", "held too long"


class FakeTask:
    """What a ticket needs of its task."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


class Window:
    """An admission, its clock, and its messages; a message that was sent away leaves at once."""

    def __init__(self, limits: AdmissionLimits = LIMITS) -> None:
        self.admission = Admission(limits)
        self.now = 5000.0
        self.sent_away: dict[str, list[str]] = {}
        self.waiting: dict[str, list[Ticket]] = {}
        self.parked: Counter[object] = Counter()

    @property
    def held(self) -> int:
        return sum(map(len, self.waiting.values()))

    def admit(self, destination: str, count: int = 1, **how: bool) -> list[Ticket]:
        """Offer messages; returns those that were admitted."""
        tickets: list[Ticket] = []
        for _ in range(count):
            ticket = self.admission.admit(destination, self.now, **how)
            if ticket is not None:
                task: Any = FakeTask()
                ticket.task = task
                tickets.append(ticket)
        self.waiting.setdefault(destination, []).extend(tickets)
        return tickets

    def fetch(self, destination: str) -> None:
        """Bring from the parking place what there is room for."""
        count = min(self.admission.room(destination), self.parked[destination])
        self.parked[destination] -= len(self.admit(destination, count, is_fetched=True))

    def start(self, destination: str, count: int = 1) -> None:
        """The oldest messages of a destination get a session."""
        for _ in range(min(count, len(self.waiting[destination]))):
            self.admission.started(self.waiting[destination].pop(0))

    def sweep(self, held: int | None = None) -> None:
        self.now += SWEEP
        self.admission.sweep(self.now, self.held if held is None else held, self.parked.__getitem__)
        for destination, tickets in self.waiting.items():
            for ticket in [ticket for ticket in tickets if ticket.verdict is not None]:
                self.sent_away.setdefault(destination, []).append(ticket.verdict or "")
                self.parked[destination] += 1
                tickets.remove(ticket)
                self.admission.started(ticket)

    def stand(self, seconds: float, held: int | None = None) -> None:
        """Nothing moves for a while."""
        for _ in range(int(seconds / SWEEP)):
            self.sweep(held)


@pytest.fixture
def window() -> Iterator[Window]:
    window = Window()
    yield window
    assert len(window.admission) == window.held


def test_everything_is_admitted_at_first(window: Window) -> None:
    assert len(window.admit("a.test", 200)) == 200
    assert len(window.admission) == 200


def test_a_new_destination_has_two_seconds_to_start_something(window: Window) -> None:
    window.admit("a.test", 200)
    window.stand(2.0)

    assert window.sent_away == {}


def test_a_standing_destination_is_down_to_its_queue(window: Window) -> None:
    window.admit("a.test", 80)
    oldest = window.waiting["a.test"][:50]
    window.stand(3.0, held=80)

    assert window.sent_away == {"a.test": [OVER] * 30}
    assert window.waiting["a.test"] == oldest
    assert window.admit("a.test", 5) == []


def test_a_standing_destination_does_not_limit_others(window: Window) -> None:
    window.admit("a.test", 60)
    window.stand(3.0, held=60)

    assert len(window.admit("b.test", 100)) == 100


def test_a_moving_destination_is_never_trimmed_while_the_window_has_room(window: Window) -> None:
    window.admit("a.test", 150)
    for _ in range(200):
        window.start("a.test", 2)  # four a second: the last one waits for 37 seconds
        window.admit("a.test", 2)
        window.sweep()

    assert window.sent_away == {}
    assert window.held == 150


def test_in_a_full_window_one_that_moves_is_not_trimmed_for_one_that_does_not(window: Window) -> None:
    window.admit("fast.test", 120)
    window.admit("dead.test", 80)
    for _ in range(40):
        window.start("fast.test", 50)
        window.admit("fast.test", 50)
        window.sweep()

    assert window.sent_away == {"dead.test": [OVER] * 79}
    assert len(window.admit("fast.test", 80)) == 80


def test_with_room_a_slow_destination_keeps_what_it_starts_within_a_minute(window: Window) -> None:
    window.admit("a.test", 170)
    for _ in range(5):
        window.start("a.test")  # two a second
        window.sweep()

    assert window.held == 120
    assert window.sent_away == {"a.test": [OVER] * 45}


def test_in_a_full_window_it_keeps_what_it_starts_while_others_wait(window: Window) -> None:
    window.admit("slow.test", 150)
    window.admit("fast.test", 50)
    for _ in range(20):
        window.start("slow.test", 2)  # four a second, where the others have forty
        window.start("fast.test", 20)
        window.admit("slow.test", 2)
        window.fetch("slow.test")
        window.admit("fast.test", 20)
        window.sweep(held=200)

    assert set(window.sent_away) == {"slow.test"}
    assert 4 <= len(window.waiting["slow.test"]) <= 40
    assert len(window.waiting["fast.test"]) == 50


def test_where_everybody_waits_for_the_same_time_nobody_is_trimmed(window: Window) -> None:
    """The machine is slow, or what all the destinations share: parking would be work for nothing."""
    names = [f"d{number}.test" for number in range(20)]
    for name in names:
        window.admit(name, 10)
    for turn in range(60):
        for name in names[turn % 4 :: 4]:  # each one message in two seconds: twenty seconds for ten
            window.start(name)
            window.admit(name)
        window.sweep()

    assert window.sent_away == {}


def test_where_nothing_has_started_yet_many_get_more_time_than_one(window: Window) -> None:
    """DNS is slow to begin: they will all go."""
    names = [f"d{number}.test" for number in range(20)]
    for name in names:
        window.admit(name, 10)
    window.stand(8.0)
    for turn in range(20):
        for name in names:
            window.start(name)
            window.admit(name)
        window.sweep()
        assert window.sent_away == {}, turn


def test_where_nothing_starts_at_all_they_make_room_in_the_end(window: Window) -> None:
    for name in ("a.test", "b.test", "c.test", "d.test"):
        window.admit(name, 50)
    window.stand(12.0, held=200)

    assert {name: len(tickets) for name, tickets in window.waiting.items()} == dict.fromkeys(window.waiting, 1)


def test_a_full_window_in_which_nothing_waits_is_nothing_special(window: Window) -> None:
    window.admit("a.test", 200)
    window.stand(3.0, held=200)
    window.start("a.test", 200)
    window.stand(3.0, held=200)

    assert window.admit("a.test") == []  # what is parked comes first


def test_many_that_are_slow_together_leave_the_window_to_one_that_is_not(window: Window) -> None:
    names = [f"d{number}.test" for number in range(20)]
    for name in names:
        window.admit(name, 9)
    window.admit("fast.test", 20)
    for _ in range(40):
        for name in names:
            window.start(name)  # two a second
        window.start("fast.test", 20)
        window.admit("fast.test", 20)
        for name in names:
            window.admit(name)
        window.sweep(held=200)

    assert "fast.test" not in window.sent_away
    assert sum(len(window.waiting[name]) for name in names) <= 60


def test_a_window_full_of_one_destination_makes_room_for_those_behind_it(window: Window) -> None:
    window.admit("huge.test", 200)
    for _ in range(20):
        window.start("huge.test", 10)  # twenty a second
        window.admit("huge.test", 10)
        window.sweep(held=200)

    assert len(window.waiting["huge.test"]) <= 60
    assert window.parked["huge.test"] >= 130


def test_a_window_full_of_one_destination_that_is_fast_stays_so(window: Window) -> None:
    window.admit("huge.test", 200)
    for _ in range(20):
        window.start("huge.test", 50)
        window.admit("huge.test", 50)
        window.sweep(held=200)

    assert window.sent_away == {}


def test_what_comes_later_queues_up_behind_what_is_parked(window: Window) -> None:
    window.admit("a.test", 200)
    window.stand(3.0)
    assert window.held == 1

    assert window.admit("a.test") == []
    assert len(window.admit("a.test", 3, is_fetched=True)) == 3
    window.parked["a.test"] = 0
    window.start("a.test", 4)
    window.sweep()
    assert len(window.admit("a.test")) == 1


def test_a_message_with_priority_does_not(window: Window) -> None:
    window.admit("a.test", 200)
    window.stand(3.0)

    assert len(window.admit("a.test", 50, is_urgent=True)) == MIN_SHARE - 1


def test_the_smallest_window_keeps_its_message() -> None:
    window = Window(AdmissionLimits(max_queue=50, prefetch=1))
    window.admit("a.test")
    window.stand(60.0)

    assert window.sent_away == {}


def test_one_that_moves_again_is_free_again(window: Window) -> None:
    window.admit("a.test", 80)
    window.stand(3.0)
    assert window.parked["a.test"] == 30
    assert window.admit("a.test") == []
    for _ in range(6):
        window.start("a.test", 5)
        window.sweep()

    assert len(window.admit("a.test", 100)) == 100


def test_being_sent_away_is_no_movement(window: Window) -> None:
    window.admit("a.test", 200)
    window.stand(13.0)

    assert window.admit("a.test") == []


def test_there_is_room_for_what_a_destination_starts_in_time(window: Window) -> None:
    assert window.admission.room("a.test") == 50, "as long as nothing is known"
    window.admit("a.test", 200)
    window.stand(3.0)
    assert window.admission.room("a.test") == 0, "one is enough to find out whether it moves"
    window.start("a.test")
    assert window.admission.room("a.test") == 1
    [probe] = window.admit("a.test", 1, is_fetched=True)
    window.sweep()
    for _ in range(10):
        window.start("a.test")
        window.admit("a.test", is_fetched=True)
        window.sweep()
    assert probe.verdict is None
    assert window.admission.room("a.test") >= MIN_SHARE


def test_a_window_with_room_leaves_the_whole_queue(window: Window) -> None:
    window.admit("a.test", 45)
    window.stand(60.0, held=179)

    assert window.sent_away == {}


def test_max_hold_ends_every_wait(window: Window) -> None:
    window.admit("dead.test", 3)
    window.stand(300.0)
    window.admit("dead.test", 2)
    window.stand(299.5)
    assert window.sent_away == {}
    window.sweep()

    assert window.sent_away == {"dead.test": [HELD] * 3}
    assert window.held == 2


def test_max_hold_ends_the_wait_at_a_destination_that_moves(window: Window) -> None:
    [forgotten] = window.admit("a.test")
    for _ in range(1200):
        others = window.admit("a.test", 5)
        for ticket in others:
            window.waiting["a.test"].remove(ticket)
            window.admission.started(ticket)
        window.sweep()

    assert forgotten.verdict == HELD


def test_whoever_opens_a_connection_is_not_disturbed(window: Window) -> None:
    tickets = window.admit("a.test", 80)
    for ticket in tickets[-10:]:
        ticket.is_opening = True
    window.stand(3.0, held=80)

    assert window.waiting["a.test"] == tickets[:50] + tickets[-10:]
    window.stand(600.0, held=80)
    assert window.waiting["a.test"] == tickets[-10:]


def test_at_the_end_everybody_is_sent_away_once(window: Window) -> None:
    tickets = window.admit("a.test", 2) + window.admit("b.test", 1)
    tickets[0].is_opening = True

    window.admission.send_all_away("stopping")
    window.admission.send_all_away("stopping again")

    assert [ticket.verdict for ticket in tickets] == ["stopping"] * 3
    for ticket in tickets:
        task: Any = ticket.task
        assert task.cancelled == 1


def test_a_ticket_without_a_task_cannot_be_interrupted() -> None:
    ticket = Ticket("a.test", 0.0)

    ticket.send_away("stopping")

    assert ticket.verdict is None


def test_a_ticket_starts_once() -> None:
    admission = Admission(LIMITS)
    first, second = (admission.admit("a.test", 0.0) for _ in range(2))
    assert first is not None
    assert second is not None

    for ticket in (first, first, second, second):
        admission.started(ticket)

    assert len(admission) == 0
    assert admission._queues == {}


def test_a_message_may_have_to_wait_again() -> None:
    admission = Admission(LIMITS)
    ticket = admission.admit("a.test", 0.0)
    assert ticket is not None
    admission.started(ticket)

    for _ in range(2):
        admission.wait_again(ticket)

    assert len(admission) == 1
    admission.started(ticket)
    assert len(admission) == 0


def test_messages_that_were_consumed_long_ago_do_not_make_a_destination_slow() -> None:
    """After a blocked broker or a full window everything is old at once, and nothing had a chance to start."""
    admission = Admission(LIMITS)
    tickets = [admission.admit("a.test", 0.0) for _ in range(200)]

    admission.sweep(100.0, 200, lambda _: 0)

    assert all(ticket is not None and ticket.verdict is None for ticket in tickets)
    assert admission.admit("a.test", 100.0) is not None


async def test_a_ticket_that_is_sent_away_ends_the_wait_of_its_task() -> None:
    admission = Admission(LIMITS)
    ticket = admission.admit("a.test", 0.0)
    assert ticket is not None

    async def wait() -> None:
        await asyncio.Event().wait()

    ticket.task = asyncio.get_running_loop().create_task(wait())
    await asyncio.sleep(0)
    admission.sweep(600.0, 1, lambda _: 0)

    with pytest.raises(asyncio.CancelledError):
        await ticket.task
    assert ticket.verdict == HELD
