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
MIN_PREFETCH = 10
"""Of a drain, however few messages are known to be parked: others may have parked some."""
WORTH_A_NEW_DRAIN = 4
"""A drain that could fetch so many times more at once is replaced."""


class _Drain(msgspec.Struct, eq=False):
    """One drain.

    Attributes:
        prefetch: Messages it may have out at once.
        held: Those it brought that are not done with.
        task: Ends when it does.
    """

    prefetch: int
    held: int = 0
    task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """End it; what it brought stays valid."""
        if self.task is not None:
            self.task.cancel()


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
        self._counts: dict[str, int] = {}
        self._drains: dict[str, _Drain] = {}
        self._fetched: dict[OutboxItem, _Drain] = {}

    @property
    def allowance(self) -> int:
        """Messages the drains under way may have out."""
        return sum(drain.prefetch for drain in self._drains.values())

    @property
    def fetched(self) -> int:
        """Messages that drains brought and that are not done with."""
        return len(self._fetched)

    def is_fetched(self, item: OutboxItem) -> bool:
        """Whether a drain brought it."""
        return item in self._fetched

    def done(self, item: OutboxItem) -> None:
        """Nothing is to be done about an item any more, whoever brought it."""
        drain = self._fetched.pop(item, None)
        if drain is not None:
            drain.held -= 1

    def count(self, destination: object) -> int:
        """Messages of a destination that were parked by this process and not fetched, as far as it knows."""
        return self._counts.get(destination, 0)  # type: ignore[call-overload, no-any-return]

    @property
    def _largest_share(self) -> int:
        return max(1, self.flush_prefetch // DRAINS)

    def note(self, destination: str, seconds: float = 0.0) -> None:
        """A message of this destination is parked now.

        Args:
            destination: Which.
            seconds: No drain before that: it would bring the message back to where it got no further.
        """
        if destination in self._counts or len(self._counts) < MAX_DESTINATIONS:
            self._counts[destination] = self._counts.get(destination, 0) + 1
            self._remember(destination, seconds)

    def _remember(self, destination: str, seconds: float = 0.0) -> None:
        self._counts.setdefault(destination, 0)
        earliest = self._loop.time() + seconds
        self._waiting[destination] = max(self._waiting.get(destination, earliest), earliest)

    def sweep(self, *, may_drain: bool, most: int | None = None) -> None:
        """Start drains where there is room, and end those whose destination has enough; twice a second.

        Args:
            may_drain: Messages may be fetched at all now.
            most: Messages there is memory for; ``None`` if nobody can tell.
        """
        for destination, drain in self._drains.items():
            room = self._admission.room(destination)
            if not may_drain or self._is_over(drain, room if most is None else min(room, most)):
                drain.cancel()
        if not may_drain:
            return
        left, now = self._left if most is None else min(self._left, most - self._coming), self._loop.time()
        for destination in [name for name, at in self._waiting.items() if at <= now and name not in self._drains]:
            if left <= 0:
                break
            if self._admission.has_room_again(destination):
                room, known = self._admission.room(destination), max(self.count(destination), MIN_PREFETCH)
                prefetch = min(left, self._largest_share, room, known)
                self._start(destination, prefetch)
                left -= prefetch

    @property
    def _left(self) -> int:
        """Messages that more drains may have out."""
        return self.flush_prefetch - len(self._fetched) - self._coming

    @property
    def _coming(self) -> int:
        """Messages that drains under way may still bring."""
        return sum(max(drain.prefetch - drain.held, 0) for drain in self._drains.values())

    def _is_over(self, drain: _Drain, room: int) -> bool:
        """Whether there is no room for more, or so much that the drain may bring too little."""
        if room <= 0:
            return True
        if drain.held >= drain.prefetch and room >= drain.prefetch:
            return True  # all it may have out is with a session or about to be settled
        return room >= WORTH_A_NEW_DRAIN * drain.prefetch and drain.prefetch < self._largest_share

    def stop(self) -> None:
        """End all drains; what they handed out stays valid."""
        for drain in self._drains.values():
            drain.cancel()

    def _start(self, destination: str, prefetch: int) -> None:
        del self._waiting[destination]
        drain = self._drains[destination] = _Drain(prefetch)
        drain.task = self._loop.create_task(self._run(destination, drain))
        drain.task.add_done_callback(lambda _: self._drains.pop(destination))

    async def _run(self, destination: str, drain: _Drain) -> None:
        def take(item: OutboxItem) -> None:
            self._fetched[item] = drain
            drain.held += 1
            if self._counts.get(destination, 0) > 0:
                self._counts[destination] -= 1
            self._deliver(item)

        is_empty = False
        try:
            is_empty = await self._broker.drain(self._outbox, parking_of(destination), drain.prefetch, take)
        except Exception as error:  # the top of a task
            self._observer.crash("parking", error)
        finally:
            if not is_empty:
                self._remember(destination)
            elif destination in self._waiting:
                self._counts[destination] = 0  # what was parked in these moments was not counted by the broker yet
            else:
                self._counts.pop(destination, None)
