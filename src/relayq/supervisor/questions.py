"""Questions of workers about messages the broker handed out before, passed on to the other workers. Pure.

A message comes back when the process that had it died, or lost its connection. In the second case that process may know
what became of it, so it is asked before anybody else delivers it (spec amqp.md 13).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from relayq.delivery.ledger import Knowledge
from relayq.supervisor.messages import Asked, Question, Told

ANSWER_SECONDS = 5.0
"""A worker that is silent for longer is taken to know nothing: a message late is worse than one that comes twice."""

Order = tuple[int, Asked | Told]
"""What to tell a worker, by its number."""


@dataclass(slots=True)
class _Open:
    asker: int
    asker_number: int
    silent: set[int]
    working: set[int]
    deadline: float
    found: Knowledge = Knowledge.UNKNOWN


class Questions:
    """Those not yet answered, the oldest first."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._next_number = 1

    def __len__(self) -> int:
        """How many are not answered yet."""
        return len(self._open)

    def ask(self, asker: int, question: Question, workers: Collection[int], now: float) -> list[Order]:
        """A worker wants to know.

        Args:
            asker: Its number.
            question: What it asked.
            workers: All that run.
            now: Monotonic instant.
        """
        others = {worker for worker in workers if worker != asker}
        if not others:
            return [(asker, Told(question.number, Knowledge.UNKNOWN))]
        number = self._next_number
        self._next_number += 1
        self._open[number] = _Open(asker, question.number, others, set(), now + ANSWER_SECONDS)
        return [
            (worker, Asked(number, question.key, question.is_unique, question.is_owed)) for worker in sorted(others)
        ]

    def answer(self, worker: int, number: int, knowledge: Knowledge) -> list[Order]:
        """A worker answered."""
        asked = self._open.get(number)
        if asked is None:
            return []
        asked.silent.discard(worker)
        if knowledge is Knowledge.KNOWN:
            return self._close(number, Knowledge.KNOWN)
        if knowledge is Knowledge.WAIT:
            asked.working.add(worker)
            return []
        asked.working.discard(worker)
        asked.found = together(asked.found, knowledge)
        return self._close_if_over(number)

    def drop(self, worker: int) -> list[Order]:
        """A worker is gone, and what it knew with it."""
        orders: list[Order] = []
        for number, asked in list(self._open.items()):
            if asked.asker == worker:
                del self._open[number]
                continue
            asked.silent.discard(worker)
            asked.working.discard(worker)
            orders += self._close_if_over(number)
        return orders

    def expire(self, now: float) -> list[Order]:
        """Give up on those who do not answer."""
        orders: list[Order] = []
        for number, asked in list(self._open.items()):
            if asked.deadline > now:
                break
            asked.silent.clear()
            orders += self._close_if_over(number)
        return orders

    def _close_if_over(self, number: int) -> list[Order]:
        asked = self._open[number]
        return [] if asked.silent or asked.working else self._close(number, asked.found)

    def _close(self, number: int, knowledge: Knowledge) -> list[Order]:
        asked = self._open.pop(number)
        return [(asked.asker, Told(asked.asker_number, knowledge))]


def together(one: Knowledge, other: Knowledge) -> Knowledge:
    """What two workers know together."""
    if {one, other} == {Knowledge.PERHAPS, Knowledge.TWIN}:
        return Knowledge.DOUBT
    return max(one, other)
