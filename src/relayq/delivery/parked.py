"""Destinations whose messages were parked at the broker, and when they are fetched from there.

A message for a destination that takes no more now goes to the parking place of that destination (spec amqp.md 11). As
soon as so few wait in memory that more can be started, a drain brings the parked ones back; it ends when the place is
empty, or when the destination has its share again. Nothing here has to survive the process: what is forgotten returns
to the outbox by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from relayq.delivery.admission import Admission
from relayq.ports import Broker, Observer, OutboxItem, Parking

MAX_DESTINATIONS = 10_000
"""Parking places remembered; what is parked beyond them returns by itself."""
DRAINS = 10
"""Drains at a time share what may be fetched: a slow destination does not take all of it."""
WORTH_A_NEW_DRAIN = 4
"""A drain that could fetch so many times more at once is replaced."""


class _Drain(msgspec.Struct, eq=False):
    task: asyncio.Task[None]
    prefetch: int


def parking_of(destination: str) -> Parking:
    """Where messages wait that their destination does not take now."""
    return Parking("domain", destination)


class ParkedDestinations:
    """What is parked, as far as this process knows, and the drains under way.

    Attributes:
        flush_prefetch: Messages all drains together may have out at once; holds for drains that start later.
    """

    def __init__(
        self,
        broker: Broker,
        outbox: str,
        admission: Admission,
        flush_prefetch: int,
        deliver: Callable[[OutboxItem], None],
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Remember nothing yet.

        Args:
            broker: Where messages are parked.
            outbox: The queue they belong to.
            admission: Knows how many of a destination wait in memory, and how many may.
            flush_prefetch: The attribute.
            deliver: Takes what a drain brings.
            observer: Told of bugs.
            loop: Runs the drains.
        """
        self._broker = broker
        self._outbox = outbox
        self._admission = admission
        self.flush_prefetch = flush_prefetch
        self._deliver = deliver
        self._observer = observer
        self._loop = loop
        self._waiting: dict[str, float] = {}
        self._drains: dict[str, _Drain] = {}

    @property
    def allowance(self) -> int:
        """Messages the drains under way may have out."""
        return sum(drain.prefetch for drain in self._drains.values())

    @property
    def _largest_share(self) -> int:
        return max(1, self.flush_prefetch // DRAINS)

    def note(self, destination: str, seconds: float = 0.0) -> None:
        """A message of this destination is parked now.

        Args:
            destination: Which.
            seconds: No drain before that: it would bring the message back to where it got no further.
        """
        if destination in self._waiting or len(self._waiting) < MAX_DESTINATIONS:
            earliest = self._loop.time() + seconds
            self._waiting[destination] = max(self._waiting.get(destination, earliest), earliest)

    def sweep(self, *, may_drain: bool) -> None:
        """Start drains where there is room, and end those whose destination has enough; twice a second.

        Args:
            may_drain: Messages may be fetched at all now.
        """
        for destination, drain in self._drains.items():
            room = self._admission.room(destination)
            is_too_small = room >= WORTH_A_NEW_DRAIN * drain.prefetch and drain.prefetch < self._largest_share
            if not may_drain or room <= 0 or is_too_small:
                drain.task.cancel()
        if not may_drain:
            return
        left, now = self.flush_prefetch - self.allowance, self._loop.time()
        for destination in [name for name, at in self._waiting.items() if at <= now and name not in self._drains]:
            if left <= 0:
                break
            if self._admission.has_room_again(destination):
                prefetch = min(left, self._largest_share, self._admission.room(destination))
                self._start(destination, prefetch)
                left -= prefetch

    def stop(self) -> None:
        """End all drains; what they handed out stays valid."""
        for drain in self._drains.values():
            drain.task.cancel()

    def _start(self, destination: str, prefetch: int) -> None:
        del self._waiting[destination]
        drain = _Drain(self._loop.create_task(self._run(destination, prefetch)), prefetch)
        self._drains[destination] = drain
        drain.task.add_done_callback(lambda _: self._drains.pop(destination))

    async def _run(self, destination: str, prefetch: int) -> None:
        is_empty = False
        try:
            is_empty = await self._broker.drain(self._outbox, parking_of(destination), prefetch, self._deliver)
        except Exception as error:  # the top of a task
            self._observer.crash("parking", error)
        finally:
            if not is_empty:
                self.note(destination)
