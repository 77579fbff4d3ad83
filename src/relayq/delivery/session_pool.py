"""Every lane of this process, and the number of connections they may have together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from relayq.delivery.lane import Lane, LaneLimits, OpenSession, Route


class ConnectionBudget:
    """Connections the process may have open at once (``smtp-connections``)."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._hungry: deque[Lane] = deque()
        self.on_exhausted: Callable[[], bool] = lambda: False

    def take(self, lane: Lane) -> bool:
        """Reserve one; when none is left, close an idle one elsewhere and wake the lane once it is gone."""
        if self._free > 0:
            self._free -= 1
            return True
        if lane not in self._hungry:
            self._hungry.append(lane)
            self.on_exhausted()
        return False

    def give(self) -> None:
        """One connection is gone: the lane that has waited longest may have it."""
        self._free += 1
        while self._hungry and self._free > 0:
            self._hungry.popleft().wake()


class SessionPool:
    """Lanes by route; made on first use, forgotten when nothing about them is worth remembering."""

    def __init__(
        self,
        limits: LaneLimits,
        max_connections: int,
        open_session: OpenSession,
        loop: asyncio.AbstractEventLoop,
        jitter: Callable[[], float],
    ) -> None:
        self._lanes: dict[Route, Lane] = {}
        self._limits = limits
        self._open_session = open_session
        self._loop = loop
        self._jitter = jitter
        self._budget = ConnectionBudget(max_connections)
        self._budget.on_exhausted = self._close_one_idle

    def lane(self, route: Route) -> Lane:
        """The lane of a route."""
        lane = self._lanes.get(route)
        if lane is None:
            lane = Lane(route, self._limits, self._budget, self._open_session, self._loop, self._jitter)
            self._lanes[route] = lane
        return lane

    def has_idle(self, route: Route) -> bool:
        """Whether a message on this route could be sent at once."""
        lane = self._lanes.get(route)
        return lane is not None and lane.has_idle

    def sweep(self) -> None:
        """Forget lanes without sessions, waiters or marks, so ten thousand domains a day do not add up."""
        for route in [route for route, lane in self._lanes.items() if lane.is_unused]:
            del self._lanes[route]

    def quit_all(self) -> None:
        """Orderly stop: every idle session says goodbye."""
        for lane in self._lanes.values():
            lane.quit_all()

    def _close_one_idle(self) -> bool:
        return any(lane.close_idle() for lane in self._lanes.values())
