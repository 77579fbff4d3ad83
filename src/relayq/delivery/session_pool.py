"""Every lane of this process, and the number of connections they may have together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relayq.delivery.budget import ConnectionBudget, PairBudgets
from relayq.delivery.lane import Lane, LaneLimits, MarkBoard, OpenSession, Route
from relayq.model import DeliveryError
from relayq.ports import Lender, LimitKey, Observer

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
        *,
        lender: Lender | None = None,
        marks: MarkBoard | None = None,
    ) -> None:
        """Start without any lane.

        Args:
            limits: Of each lane.
            max_connections: Of all together, where no lender decides.
            open_session: Opens one.
            loop: Its clock is that of all deadlines.
            jitter: Numbers from 0 to 1.
            observer: Told every fact once.
            lender: Decides how many connections this process may have; ``None`` where it is the only one.
            marks: Where other processes learn which hosts are down.
        """
        self._lanes: dict[Route, Lane] = {}
        self._next_sweep = 0.0
        self._limits = limits
        self._open_session = open_session
        self._loop = loop
        self._jitter = jitter
        self._observer = observer
        self._lender = lender
        self._marks = marks
        self._budget = ConnectionBudget(max_connections, lender)
        self._pairs = PairBudgets(limits.max_connections, self._budget, lender)

    def lane(self, route: Route) -> Lane:
        """The lane of a route; not to be kept across a wait, unless a session or a place in its queue is held."""
        lane = self._lanes.get(route)
        if lane is None:
            budget = self._pairs.of(route.egress_ip, route.remote_ip)
            lane = Lane(
                route, self._limits, budget, self._open_session, self._loop, self._jitter, self._observer, self._marks
            )
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
        self._budget.allowance.give_back_idle()
        self._pairs.give_back_idle()

    # --- shared with other processes ----------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Open, or being opened."""
        return sum(lane.open_count for lane in self._lanes.values())

    @property
    def marked_down(self) -> int:
        """Routes that are left alone now."""
        now = self._loop.time()
        return sum(1 for lane in self._lanes.values() if lane.is_down(now))

    def mark_down(self, route: Route, error: DeliveryError, seconds: float) -> None:
        """Another process found a host down."""
        self.lane(route).believe_down(error, seconds)

    def clear_mark(self, route: Route) -> None:
        """Another process has got through to a host again."""
        lane = self._lanes.get(route)
        if lane is not None:
            lane.believe_up()

    def granted(self, key: LimitKey, count: int) -> None:
        """See ``ports.Borrower``."""
        if key is None:
            self._budget.allowance.granted(count)
        else:
            self._pairs.granted(key, count)

    def recalled(self, key: LimitKey, count: int) -> None:
        """See ``ports.Borrower``."""
        if key is not None:
            self._pairs.recalled(key, count)
        elif self._budget.allowance.recall(count):
            self._budget.close_idle()

    def reconfigure(self, limits: LaneLimits, max_connections: int) -> None:
        """Other limits, from the next connection on; those there are too many of now close as their messages are done.

        Where a lender decides, it has the new shares already.
        """
        self._limits = limits
        for lane in self._lanes.values():
            lane.reconfigure(limits)
        self._budget.allowance.set_share(max_connections if self._lender is None else self._lender.share_of_all)
        self._pairs.set_total(limits.max_connections)

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
