"""What others get of the window beside a destination that is bad: counted in messages, with a clock that is stepped.

The model is the part of the engine that decides: an outbox in its order, a window, the admission and its sweeps,
parking places that are fetched where there is room. A destination starts a given number of messages per tick. Nothing
else takes time, so what the others get is what the decisions leave them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any

import pytest

from relayq.delivery.admission import Admission, AdmissionLimits, Ticket

PREFETCH = 500
TICK = 0.1
TICKS_PER_SWEEP = 5
FLUSH = 200
SHARE = 0.9


class _Task:
    def cancel(self) -> None:
        """The model takes away what has a verdict."""


class Model:
    """One window."""

    def __init__(self, outbox: Iterable[str], starts: dict[str, float], *, most: int) -> None:
        """A full outbox.

        Args:
            outbox: Destinations of its messages, in order.
            starts: Messages per tick a destination starts, where it is not as many as come.
            most: Messages all of them start per tick: the machine does not do more.
        """
        self.outbox: Iterator[str] = iter(outbox)
        self.starts = starts
        self.most = most
        self.admission = Admission(AdmissionLimits(max_queue=50, prefetch=PREFETCH))
        self.lines: dict[str, deque[Ticket]] = {}
        self.parked: Counter[object] = Counter()
        self.credit: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.most_waiting: Counter[str] = Counter()
        self.now = 0.0
        self._order: deque[str] = deque()

    def run(self, seconds: float) -> None:
        for tick in range(round(seconds / TICK)):
            self._consume()
            self._start()
            self.now += TICK
            if tick % TICKS_PER_SWEEP == 0:
                self._sweep()

    def _waiting(self, *, is_fetched: bool) -> int:
        return sum(ticket.is_fetched is is_fetched for line in self.lines.values() for ticket in line)

    def _admit(self, destination: str, *, is_fetched: bool = False) -> bool:
        ticket = self.admission.admit(destination, self.now, is_fetched=is_fetched)
        if ticket is None:
            return False
        task: Any = _Task()
        ticket.task = task
        line = self.lines.setdefault(destination, deque())
        line.append(ticket)
        self.most_waiting[destination] = max(self.most_waiting[destination], len(line))
        return True

    def _consume(self) -> None:
        """The broker fills the window; parking costs as much of a tick's work as a start."""
        work = self.most
        while work and self._waiting(is_fetched=False) < PREFETCH and (name := next(self.outbox, None)):
            self.taken[name] += 1
            if not self._admit(name):
                self.parked[name] += 1
                work -= 1

    def _start(self) -> None:
        """Destinations take turns; who may start more than one per tick has more turns."""
        for name in self.lines:
            self.credit[name] = min(self.credit[name] + self.starts.get(name, self.most), self.most)  # type: ignore[assignment]
        left, is_moving = self.most, True
        while left and is_moving:
            is_moving = False
            for name, line in self.lines.items():
                if left and line and self.credit[name] >= 1:
                    self.credit[name] -= 1
                    self.admission.started(line.popleft())
                    self.delivered[name] += 1
                    left -= 1
                    is_moving = True

    def _sweep(self) -> None:
        self.admission.sweep(self.now, self._waiting(is_fetched=False), self.parked.__getitem__)
        for name, line in self.lines.items():
            for ticket in [ticket for ticket in line if ticket.verdict is not None]:
                line.remove(ticket)
                self.admission.started(ticket)
                self.parked[name] += 1
        left = FLUSH - self._waiting(is_fetched=True)
        for place in [place for place, count in self.parked.items() if count]:
            name = str(place)
            for _ in range(min(self.admission.room(name), self.parked[name], left)):
                self.parked[name] -= 1
                left -= 1
                assert self._admit(name, is_fetched=True)


GOOD = [f"d{number}.test" for number in range(40)]


def mixed(bad: Iterable[str], every: int = 10) -> Iterator[str]:
    """An endless outbox in which one of ``every`` is bad."""
    good, others = cycle(GOOD), cycle(bad)
    while True:
        yield next(others)
        for _ in range(every - 1):
            yield next(good)


def to_others(model: Model) -> int:
    return sum(model.delivered[name] for name in GOOD)


SECONDS, MOST = 60.0, 40
ALONE = SECONDS / TICK * MOST
"""What the others get with the machine to themselves."""


@pytest.mark.parametrize(
    ("bad", "every"),
    [
        ({"dead.test": 0.0}, 10),
        ({"dead.test": 0.0}, 20),
        ({"slow.test": 0.4}, 10),
        ({"slow.test": 0.05}, 10),
        ({f"dead{number}.test": 0.0 for number in range(50)}, 10),
        ({"dead.test": 0.0, "slow.test": 0.4, "slower.test": 0.1}, 10),
    ],
)
def test_the_others_keep_their_turns_beside_a_bad_destination(bad: dict[str, float], every: int) -> None:
    model = Model(mixed(bad, every), bad, most=MOST)
    model.run(SECONDS)

    # A bad message costs as much as one of theirs, once: that, and the moments until it shows, is all they lose.
    assert to_others(model) >= (1 - 1 / every) * ALONE * 0.97
    assert sum(model.taken.values()) == (
        sum(model.delivered.values()) + sum(model.parked.values()) + sum(map(len, model.lines.values()))
    )
    assert all(model.delivered[name] >= starts * SECONDS / TICK * 0.8 for name, starts in bad.items() if starts >= 0.1)


def test_in_the_long_run_it_holds_hardly_any_of_the_window() -> None:
    model = Model(mixed(["dead.test"]), {"dead.test": 0.0}, most=MOST)
    model.run(10.0)
    assert len(model.lines["dead.test"]) <= 2
    assert model.most_waiting["dead.test"] <= PREFETCH


def test_what_lies_before_the_others_does_not_hold_them_up() -> None:
    def outbox() -> Iterator[str]:
        yield from ["huge.test"] * 5000
        yield from mixed(["huge.test"])

    model = Model(outbox(), {"huge.test": 1.0}, most=MOST)
    model.run(60.0)

    # 5,000 messages take 12 s of parking, where it would be 500 s of waiting; then the others have nine of ten turns.
    assert to_others(model) >= 0.85 * (60.0 - 20.0) / TICK * MOST * SHARE
    assert model.delivered["huge.test"] >= 0.8 * 60.0 / TICK * 1.0


def test_one_that_recovers_gets_all_its_mail() -> None:
    model = Model(
        (name for _, name in zip(range(20_000), mixed(["back.test"]), strict=False)), {"back.test": 0.0}, most=MOST
    )
    model.run(20.0)
    assert model.delivered["back.test"] == 0
    model.starts["back.test"] = 10.0
    model.run(60.0)
    assert model.delivered["back.test"] == 2000
    assert not model.parked["back.test"]


def test_ten_thousand_domains_are_nothing_special() -> None:
    model = Model((f"d{number}.test" for number in cycle(range(10_000))), {}, most=MOST)
    model.run(10.0)
    assert sum(model.delivered.values()) == 10.0 / TICK * MOST
    assert not model.parked
