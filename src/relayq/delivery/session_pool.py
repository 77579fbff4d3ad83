"""Every lane of this process, and the number of connections they may have together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relayq.delivery.budget import ConnectionBudget, PairBudgets
from relayq.delivery.lane import Lane, LaneLimits, OpenSession, Route
from relayq.ports import Observer

_ABORTING_SECONDS = 1.0
_SWEEP_SECONDS = 5.0


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
        self._next_sweep = 0.0
        self._limits = limits
        self._open_session = open_session
        self._loop = loop
        self._jitter = jitter
        self._observer = observer
        self._budget = ConnectionBudget(max_connections)
        self._pairs = PairBudgets(limits.max_connections, self._budget)

    def lane(self, route: Route) -> Lane:
        """The lane of a route; not to be kept across a wait, unless a session or a place in its queue is held."""
        lane = self._lanes.get(route)
        if lane is None:
            budget = self._pairs.of(route.egress_ip, route.remote_ip)
            lane = Lane(route, self._limits, budget, self._open_session, self._loop, self._jitter, self._observer)
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
        now = self._loop.time()
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_SECONDS
        for route in [route for route, lane in self._lanes.items() if lane.is_unused(now)]:
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
