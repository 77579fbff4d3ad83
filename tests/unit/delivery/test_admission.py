"""Who may wait in memory (spec delivery.md 2.1, amqp.md 11)."""

from __future__ import annotations

import asyncio
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

    @property
    def held(self) -> int:
        return sum(map(len, self.waiting.values()))

    def admit(self, destination: str, count: int = 1) -> list[Ticket]:
        """Offer messages; returns those that were admitted."""
        tickets: list[Ticket] = []
        for _ in range(count):
            ticket = self.admission.admit(destination, self.now)
            if ticket is not None:
                task: Any = FakeTask()
                ticket.task = task
                tickets.append(ticket)
        self.waiting.setdefault(destination, []).extend(tickets)
        return tickets

    def start(self, destination: str, count: int = 1) -> None:
        """The oldest messages of a destination get a session."""
        for _ in range(min(count, len(self.waiting[destination]))):
            self.admission.started(self.waiting[destination].pop(0))

    def sweep(self, held: int | None = None) -> None:
        self.now += SWEEP
        self.admission.sweep(self.now, self.held if held is None else held)
        for destination, tickets in self.waiting.items():
            for ticket in [ticket for ticket in tickets if ticket.verdict is not None]:
                self.sent_away.setdefault(destination, []).append(ticket.verdict or "")
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


def test_a_standing_destination_takes_new_messages_up_to_its_limit(window: Window) -> None:
    window.admit("a.test", 60)
    window.stand(3.0, held=60)
    window.start("a.test", 3)

    assert len(window.admit("a.test", 10)) == 3


def test_a_standing_destination_does_not_limit_others(window: Window) -> None:
    window.admit("a.test", 60)
    window.stand(3.0, held=60)

    assert len(window.admit("b.test", 100)) == 100


def test_a_moving_destination_is_never_trimmed_however_long_its_queue(window: Window) -> None:
    window.admit("a.test", 200)
    for _ in range(200):
        window.start("a.test", 2)  # four a second: the last one waits for 50 seconds
        window.admit("a.test", 2)
        window.sweep()

    assert window.sent_away == {}
    assert window.held == 200


def test_a_crowded_window_is_no_reason_to_trim_one_that_moves(window: Window) -> None:
    window.admit("fast.test", 150)
    window.admit("dead.test", 50)
    for _ in range(40):
        window.start("fast.test", 5)
        window.admit("fast.test", 5)
        window.sweep(held=200)

    assert "fast.test" not in window.sent_away
    assert "dead.test" not in window.sent_away


def test_a_slow_destination_keeps_what_it_starts_within_a_minute(window: Window) -> None:
    window.admit("a.test", 200)
    for _ in range(5):
        window.start("a.test")  # two a second
        window.sweep()

    assert window.held == 120
    assert window.sent_away == {"a.test": [OVER] * 75}
    window.start("a.test", 2)
    assert len(window.admit("a.test", 5)) == 2


def test_one_that_moves_again_is_free_again(window: Window) -> None:
    window.admit("a.test", 80)
    window.stand(3.0)
    assert window.admit("a.test") == []
    for _ in range(6):
        window.start("a.test", 5)
        window.sweep()

    assert len(window.admit("a.test", 100)) == 100


def test_being_sent_away_is_no_movement(window: Window) -> None:
    window.admit("a.test", 200)
    window.stand(3.0)
    assert window.held == 50
    window.stand(10.0)

    assert window.admit("a.test") == []


def test_in_a_crowded_window_standing_destinations_share_half(window: Window) -> None:
    window.admit("a.test", 100)
    window.admit("b.test", 100)
    window.stand(3.0)

    # As long as it is crowded they have 200 / (2 * 2) each.
    assert {name: len(tickets) for name, tickets in window.waiting.items()} == {"a.test": 50, "b.test": 50}


def test_several_standing_destinations_get_equal_shares(window: Window) -> None:
    names = [f"{letter}.test" for letter in "abcde"]
    for name, count in zip(names, (100, 60, 30, 5, 1), strict=True):
        window.admit(name, count)
    window.stand(3.0, held=190)

    # 200 / (2 * 5) for each; who has fewer keeps them.
    assert [len(window.waiting[name]) for name in names] == [20, 20, 20, 5, 1]


def test_a_share_has_a_floor(window: Window) -> None:
    for number in range(40):
        window.admit(f"d{number}.test", 15)
    window.stand(3.0, held=200)

    assert {len(tickets) for tickets in window.waiting.values()} == {MIN_SHARE}


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

    admission.sweep(100.0, 200)

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
    admission.sweep(600.0, 1)

    with pytest.raises(asyncio.CancelledError):
        await ticket.task
    assert ticket.verdict == HELD
