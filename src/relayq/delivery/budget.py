"""How many connections may be open, in the whole process and between two addresses.

A lane that may not open one is *hungry* until somebody closes one: an idle session of another lane is closed for it at
once, and one that is in use gives way when its message is done, if the hungry lane has the better right.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakValueDictionary

from relayq.delivery.lane import Budget, Lane
from relayq.delivery.session import Session

FAIR_MESSAGES = 20
"""Messages a session serves before it gives way to a lane that has no connection at all."""


class ConnectionBudget:
    """Connections the process may have open at once (``smtp-connections``).

    Attributes:
        idle_lanes: Lanes with idle sessions, the one that has had any for longest first; kept by the lanes.
    """

    def __init__(self, total: int) -> None:
        self.idle_lanes: dict[Lane, None] = {}
        self._free = total
        self._hungry: dict[Lane, None] = {}

    @property
    def has_free(self) -> bool:
        """One more may be opened."""
        return self._free > 0

    def take(self, lane: Lane) -> bool:
        """Reserve one; when none is left, close an idle one elsewhere and wake the lane once it is gone."""
        if self._free > 0:
            self._free -= 1
            return True
        if lane not in self._hungry:
            self._hungry[lane] = None
            for other in self.idle_lanes:
                other.close_idle()
                break
        return False

    def give(self) -> None:
        """One connection is gone: the lane that has waited longest may have it."""
        self._free += 1
        while self._hungry and self._free > 0:
            lane = next(iter(self._hungry))
            del self._hungry[lane]
            lane.wake()

    def is_claimed(self, lane: Lane, session: Session) -> bool:
        """Whether a session nobody uses has to go, because another lane has a better right to a connection."""
        return bool(self._hungry) and _has_better_right(self._hungry, lane, session)


class PairBudget:
    """Connections between one local and one remote address (``ip-maxconnections``), shared by the lanes of the pair.

    A pair has several lanes when messages demand different protection, or log in as different users.
    """

    def __init__(self, total: int, whole: ConnectionBudget) -> None:
        self._free = total
        self._whole = whole
        self._hungry: dict[Lane, None] = {}

    @property
    def idle_lanes(self) -> dict[Lane, None]:
        """Those of the whole process."""
        return self._whole.idle_lanes

    @property
    def has_free(self) -> bool:
        """One more may be opened."""
        return self._free > 0 and self._whole.has_free

    def take(self, lane: Lane) -> bool:
        """Reserve one of the pair and of the process."""
        if self._free > 0:
            if not self._whole.take(lane):
                return False
            self._free -= 1
            return True
        if lane not in self._hungry:
            self._hungry[lane] = None
            for other in self.idle_lanes:
                if other is not lane and other.shares_budget_with(lane):
                    other.close_idle()
                    break
        return False

    def give(self) -> None:
        """One connection of the pair is gone."""
        self._free += 1
        self._whole.give()
        while self._hungry and self._free > 0:
            lane = next(iter(self._hungry))
            del self._hungry[lane]
            lane.wake()

    def is_claimed(self, lane: Lane, session: Session) -> bool:
        """Whether a session has to go for another lane of the pair, or of the process."""
        if self._hungry and _has_better_right(self._hungry, lane, session):
            return True
        return self._whole.is_claimed(lane, session)


class PairBudgets:
    """Budgets by pair of addresses; one that no lane has any more is forgotten."""

    def __init__(self, total: int, whole: ConnectionBudget) -> None:
        self._total = total
        self._whole = whole
        self._pairs: WeakValueDictionary[tuple[str | None, str], PairBudget] = WeakValueDictionary()

    def of(self, egress_ip: str | None, remote_ip: str) -> Budget:
        """The budget that lanes between these addresses share; that of the process if pairs have no limit."""
        if not self._total:
            return self._whole
        budget = self._pairs.get((egress_ip, remote_ip))
        if budget is None:
            budget = self._pairs[egress_ip, remote_ip] = PairBudget(self._total, self._whole)
        return budget


def _has_better_right(hungry: Iterable[Lane], lane: Lane, session: Session) -> bool:
    """Whether one of the hungry lanes should get the connection that ``lane`` has in ``session``.

    A lane with messages of its own gives way to one with two connections less, and to one without any after a while;
    so no destination starves, and equally busy ones do not take connections from each other for ever.
    """
    other = next((other for other in hungry if other is not lane and other.has_waiters), None)
    if other is None:
        return False
    if not lane.has_waiters or other.open_count + 1 < lane.open_count:
        return True
    return other.open_count == 0 and session.messages >= FAIR_MESSAGES
