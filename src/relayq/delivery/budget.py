"""How many connections may be open, in the whole installation and between two addresses.

A lane that may not open one is *hungry* until somebody closes one: an idle session of another lane is closed for it at
once, and one that is in use gives way when its message is done, if the hungry lane has the better right.

With several worker processes each has a share of every limit and borrows the rest from a lender (``ports.permits``).
The unit of borrowing is a few permits, the time they are kept is that of a sweep: borrowing follows the load within
seconds, and no message ever waits for more than the one answer that somebody before it asked for.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakValueDictionary

from relayq.delivery.lane import Budget, Lane
from relayq.delivery.session import Session
from relayq.ports import Lender, LimitKey, PairKey

FAIR_MESSAGES = 20
"""Messages a session serves before it gives way to a lane that has no connection at all."""
BATCH = 16
"""Permits asked for at once."""


class Claimant(Protocol):
    """Who is hungry: a lane, or somebody in another process."""

    @property
    def has_waiters(self) -> bool:
        """It has a use for a connection now."""
        ...

    @property
    def open_count(self) -> int:
        """Connections it has."""
        ...

    def wake(self) -> None:
        """A connection became free: take it."""
        ...


class Allowance:
    """Permits of one limit in this process: its own share, and what is borrowed.

    Attributes:
        free: Permits nobody uses; below zero after a limit was lowered.
    """

    def __init__(self, key: LimitKey, total: int, lender: Lender | None) -> None:
        self.free = total
        self._share = total
        self._key = key
        self._lender = lender
        self._borrowed = 0
        self._is_asking = False
        self._least_free = 0
        self._recalled = 0
        self._recall = _Recall(self)
        self._hungry: dict[Claimant, None] = {}

    @property
    def borrowed(self) -> int:
        """Permits to be given back some time."""
        return self._borrowed

    @property
    def recalled(self) -> int:
        """How many of them are wanted elsewhere."""
        return self._recalled

    def want(self, lane: Lane) -> bool:
        """Remember a lane that got none; false if it is remembered already."""
        if lane in self._hungry:
            return False
        self._hungry[lane] = None
        self._ask()
        return True

    def use(self) -> None:
        """Somebody takes one."""
        self.free -= 1
        self._least_free = min(self._least_free, self.free)

    def feed(self) -> None:
        """Let those that have waited longest take what is free."""
        while self._hungry and self.free > 0:
            claimant = next(iter(self._hungry))
            del self._hungry[claimant]
            claimant.wake()

    def is_claimed(self, lane: Lane, session: Session) -> bool:
        """Whether one of the hungry should have the connection that ``lane`` has in ``session``."""
        return bool(self._hungry) and _has_better_right(self._hungry, lane, session)

    def granted(self, count: int) -> None:
        """The lender's answer."""
        self._is_asking = False
        self._borrowed += count
        self.free += count
        self.feed()
        if self._hungry:
            self._ask()

    def recall(self, count: int) -> bool:
        """The lender wants permits back; true when a connection has to be closed for it."""
        self._recalled = min(self._recalled + count, self._borrowed)
        self.give_back_recalled()
        return self._recalled > 0

    def give_back_recalled(self) -> None:
        """Return what is free of what was recalled, and see to it that the rest follows."""
        count = min(self._recalled, self.free)
        if count > 0:
            self._recalled -= count
            self._give_back(count)
        if self._recalled:
            self._hungry[self._recall] = None

    def give_back_idle(self) -> None:
        """Return what was borrowed and not used since the last call."""
        count = min(self._least_free, self._borrowed)
        if count > 0:
            self._give_back(count)
        self._least_free = self.free

    def set_share(self, share: int) -> None:
        """Another share, or total, from now on."""
        self.free += share - self._share
        self._share = share
        self._least_free = min(self._least_free, self.free)
        self.feed()

    def _give_back(self, count: int) -> None:
        assert self._lender is not None
        self.free -= count
        self._borrowed -= count
        self._recalled = min(self._recalled, self._borrowed)
        self._lender.give_back(self._key, count)

    def _ask(self) -> None:
        if self._lender is not None and not self._is_asking:
            self._is_asking = True
            self._lender.ask(self._key, BATCH)


class _Recall:
    """Somebody in another process who has no connection at all."""

    open_count = 0

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance

    @property
    def has_waiters(self) -> bool:
        """Not all is given back yet."""
        return self._allowance.recalled > 0

    def wake(self) -> None:
        """Pass the free permit on."""
        self._allowance.give_back_recalled()


class ConnectionBudget:
    """Connections that may be open at once (``smtp-connections``).

    Attributes:
        idle_lanes: Lanes with idle sessions, the one that has had any for longest first; kept by the lanes.
        allowance: Permits of this process.
    """

    def __init__(self, total: int, lender: Lender | None = None) -> None:
        self.idle_lanes: dict[Lane, None] = {}
        self.allowance = Allowance(None, total if lender is None else lender.share_of_all, lender)

    @property
    def has_free(self) -> bool:
        """One more may be opened."""
        return self.allowance.free > 0

    def take(self, lane: Lane) -> bool:
        """Reserve one; when none is left, close an idle one elsewhere and wake the lane once it is gone."""
        if self.allowance.free > 0:
            self.allowance.use()
            return True
        if self.allowance.want(lane):
            self.close_idle()
        return False

    def give(self) -> None:
        """One connection is gone: the lane that has waited longest may have it."""
        self.allowance.free += 1
        self.allowance.feed()

    def close_idle(self) -> None:
        """Close a connection nobody uses."""
        for lane in self.idle_lanes:
            lane.close_idle()
            break

    def is_claimed(self, lane: Lane, session: Session) -> bool:
        """Whether a session nobody uses has to go, because another lane has a better right to a connection."""
        return self.allowance.is_claimed(lane, session)


class PairBudget:
    """Connections between one local and one remote address (``ip-maxconnections``), shared by the lanes of the pair.

    A pair has several lanes when messages demand different protection, or log in as different users.

    Attributes:
        allowance: Permits of this process.
        is_watched: When nobody has this budget any more, what was borrowed for it is given back.
    """

    def __init__(self, allowance: Allowance, whole: ConnectionBudget) -> None:
        self.allowance = allowance
        self.is_watched = False
        self._whole = whole

    @property
    def idle_lanes(self) -> dict[Lane, None]:
        """Those of the whole process."""
        return self._whole.idle_lanes

    @property
    def has_free(self) -> bool:
        """One more may be opened."""
        return self.allowance.free > 0 and self._whole.has_free

    def take(self, lane: Lane) -> bool:
        """Reserve one of the pair and of the process."""
        if self.allowance.free > 0:
            if not self._whole.take(lane):
                return False
            self.allowance.use()
            return True
        if self.allowance.want(lane):
            self.close_idle(besides=lane)
        return False

    def give(self) -> None:
        """One connection of the pair is gone."""
        self.allowance.free += 1
        self._whole.give()
        self.allowance.feed()

    def close_idle(self, besides: Lane | None = None) -> None:
        """Close a connection of the pair that nobody uses."""
        for other in self.idle_lanes:
            if other is not besides and other.is_limited_by(self):
                other.close_idle()
                break

    def is_claimed(self, lane: Lane, session: Session) -> bool:
        """Whether a session has to go for another lane of the pair, or of the process."""
        return self.allowance.is_claimed(lane, session) or self._whole.is_claimed(lane, session)


class PairBudgets:
    """Budgets by pair of addresses; one that no lane has any more is forgotten."""

    def __init__(self, total: int, whole: ConnectionBudget, lender: Lender | None = None) -> None:
        self._total = total
        self._whole = whole
        self._lender = lender
        self._pairs: WeakValueDictionary[PairKey, PairBudget] = WeakValueDictionary()
        self._borrowing: WeakValueDictionary[PairKey, PairBudget] = WeakValueDictionary()

    def of(self, egress_ip: str | None, remote_ip: str) -> Budget:
        """The budget that lanes between these addresses share; that of the process if pairs have no limit."""
        if not self._total:
            return self._whole
        key = (egress_ip, remote_ip)
        budget = self._pairs.get(key)
        if budget is None:
            allowance = Allowance(key, self._share, self._lender)
            budget = self._pairs[key] = PairBudget(allowance, self._whole)
        return budget

    def granted(self, key: PairKey, count: int) -> None:
        """Permits from the lender."""
        assert self._lender is not None
        budget = self._pairs.get(key)
        if budget is None:
            self._lender.give_back(key, count)
            return
        if not budget.is_watched:
            budget.is_watched = True
            weakref.finalize(budget, self._lender.forget, key).atexit = False
        self._borrowing[key] = budget
        budget.allowance.granted(count)

    def recalled(self, key: PairKey, count: int) -> None:
        """The lender wants permits back."""
        budget = self._pairs.get(key)
        if budget is not None and budget.allowance.recall(count):
            budget.close_idle()

    def give_back_idle(self) -> None:
        """Return what was borrowed for nothing."""
        for key, budget in list(self._borrowing.items()):
            budget.allowance.give_back_idle()
            if not budget.allowance.borrowed:
                del self._borrowing[key]

    def set_total(self, total: int) -> None:
        """Another limit; not from or to "no limit", which decides what lanes hold on to."""
        self._total = total
        for budget in list(self._pairs.values()):
            budget.allowance.set_share(self._share)

    @property
    def _share(self) -> int:
        return self._total if self._lender is None else self._lender.share_of_pair


def _has_better_right(hungry: Iterable[Claimant], lane: Lane, session: Session) -> bool:
    """Whether one of the hungry should get the connection that ``lane`` has in ``session``.

    A lane with messages of its own gives way to one with two connections less, and to one without any after a while;
    so no destination starves, and equally busy ones do not take connections from each other for ever.
    """
    other = next((other for other in hungry if other is not lane and other.has_waiters), None)
    if other is None:
        return False
    if not lane.has_waiters or other.open_count + 1 < lane.open_count:
        return True
    return other.open_count == 0 and session.messages >= FAIR_MESSAGES
