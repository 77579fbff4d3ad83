"""Several workers under one limit: their lanes, the desk of each, and the book of the supervisor, with random delays.

What must hold of one worker alone (``test_lane_balance``) holds of each; together they never exceed a limit, and none
waits for ever while another has what it does not need.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from types import SimpleNamespace
from typing import Any

import pytest

from relayq.ports import LimitKey
from relayq.supervisor.desk import PermitDesk
from relayq.supervisor.messages import Ask, FromWorker, GaveBack
from relayq.supervisor.permits import Granted, Limits, PermitBook, Recalled
from tests.unit.delivery.test_lane_balance import BUDGET, LANES, LIMITS, Balance

STEPS = 400


class Member(Balance):
    """One worker, and its messages to and from the supervisor that are still on their way."""

    def __init__(self, seed: int, limits: Limits) -> None:
        self.to_supervisor: deque[FromWorker] = deque()
        self.to_worker: deque[Granted | Recalled] = deque()
        self.desk = PermitDesk(limits, self.to_supervisor.append)
        super().__init__(seed, self.desk)

    def hear(self) -> None:
        order = self.to_worker.popleft()
        if isinstance(order, Granted):
            worker: Any = SimpleNamespace(pool=self.pool)
            self.desk.granted(order, worker)
        else:
            self.pool.recalled(order.key, order.count)

    def permits_agree(self, opened: int) -> None:
        allowance = self.pool._budget.allowance
        assert allowance.free + opened == self.desk.share_of_all + allowance.borrowed
        assert allowance.free >= 0
        assert self.desk._lent.get(None, 0) == allowance.borrowed

    def open_by_key(self) -> Counter[LimitKey]:
        count: Counter[LimitKey] = Counter()
        for lane in self.lanes:
            count[None] += lane.open_count
            count[lane.route.egress_ip, lane.route.remote_ip] += lane.open_count
        return count


class Fleet:
    def __init__(self, seed: int, workers: int) -> None:
        self.rng = random.Random(seed)
        limits = Limits(connections=BUDGET, pair_connections=LIMITS.max_connections, workers=workers)
        self.book = PermitBook(limits)
        self.members = {number: Member(seed * 10 + number, limits) for number in range(1, workers + 1)}

    def carry(self, *, everything: bool = False) -> None:
        """Some messages arrive; in order between two ends, in any order between others."""
        for number, member in self.members.items():
            while member.to_supervisor and (everything or self.rng.random() < 0.6):
                self.decide(number, member.to_supervisor.popleft())
            while member.to_worker and (everything or self.rng.random() < 0.6):
                member.hear()

    def decide(self, number: int, message: FromWorker) -> None:
        if isinstance(message, Ask):
            orders = self.book.ask(number, message.key, message.count)
        else:
            assert isinstance(message, GaveBack)
            orders = self.book.give_back(number, message.key, message.count)
        for worker, order in orders:
            self.members[worker].to_worker.append(order)

    def limits_hold(self) -> None:
        total: Counter[LimitKey] = Counter()
        for member in self.members.values():
            total += member.open_by_key()
        for key, count in total.items():
            assert count <= (BUDGET if key is None else LIMITS.max_connections), key


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_limits_hold_whatever_happens(seed: int, workers: int) -> None:
    fleet = Fleet(seed, workers)
    try:
        for _ in range(STEPS):
            fleet.rng.choice(list(fleet.members.values())).step()
            fleet.carry()
            fleet.limits_hold()
    finally:
        for member in fleet.members.values():
            member.end()
    # Idle for a few sweeps: everything borrowed is with the supervisor again, also what was asked for and comes late.
    for _ in range(6):
        for member in fleet.members.values():
            member.loop.advance(10.0)
            member.pool.sweep()
            member.desk.return_forgotten()
        fleet.carry(everything=True)
    for key in [None, *((None, f"192.0.2.{number}") for number in range(LANES))]:
        assert [fleet.book.lent(number, key) for number in fleet.members] == [0] * workers, key
