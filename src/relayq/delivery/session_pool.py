"""Every lane of this process, and the number of connections they may have together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relayq.delivery.lane import Lane, LaneLimits, OpenSession, Route
from relayq.delivery.session import Session
from relayq.ports import Observer

_ABORTING_SECONDS = 1.0


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
        """Whether a session nobody uses has to go, because another lane has a better right to a connection.

        A lane with messages of its own gives way to one with two connections less, and to one without any after a
        while; so no destination starves, and equally busy ones do not take connections from each other for ever.
        """
        if not self._hungry:
            return False
        other = next((other for other in self._hungry if other is not lane and other.has_waiters), None)
        if other is None:
            return False
        if not lane.has_waiters or other.open_count + 1 < lane.open_count:
            return True
        return other.open_count == 0 and session.messages >= FAIR_MESSAGES


class SessionPool:
    """Lanes by route; made on first use, forgotten when nothing about them is worth remembering."""

    def __init__(
        self,
        limits: LaneLimits,
        max_connections: int,
        open_session: OpenSession,
        loop: asyncio.AbstractEventLoop,
        jitter: Callable[[], float],
        observer: Observer,
    ) -> None:
        self._lanes: dict[Route, Lane] = {}
        self._limits = limits
        self._open_session = open_session
        self._loop = loop
        self._jitter = jitter
        self._observer = observer
        self._budget = ConnectionBudget(max_connections)

    def lane(self, route: Route) -> Lane:
        """The lane of a route; not to be kept across a wait, unless a session or a place in its queue is held."""
        lane = self._lanes.get(route)
        if lane is None:
            lane = Lane(route, self._limits, self._budget, self._open_session, self._loop, self._jitter, self._observer)
            self._lanes[route] = lane
        return lane

    def has_idle(self, route: Route) -> bool:
        """Whether a message on this route could be sent at once."""
        lane = self._lanes.get(route)
        return lane is not None and lane.has_idle

    def load(self, route: Route) -> int:
        """Messages waiting on a route."""
        lane = self._lanes.get(route)
        return max(lane.load, 0) if lane is not None else 0

    def sweep(self) -> None:
        """Forget lanes without sessions, waiters or marks, so ten thousand domains a day do not add up."""
        for route in [route for route, lane in self._lanes.items() if lane.is_unused]:
            del self._lanes[route]

    async def close(self, grace: float) -> None:
        """Say goodbye everywhere; after ``grace`` seconds close what is left at once."""
        lanes = list(self._lanes.values())
        endings = [ending for lane in lanes for ending in lane.close()]
        if endings:
            await asyncio.wait(endings, timeout=grace)
        for lane in lanes:
            lane.abort()
        if endings:
            await asyncio.wait(endings, timeout=_ABORTING_SECONDS)
