"""A broker in a few dictionaries: deterministic, inspectable, gone with the process.

Every change takes effect inside the call that asks for it; only the hand-out of messages waits for the next turn of the
event loop, so that ``deliver`` never runs inside ``publish`` or ``settle``.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from relayq.adapters.memory.clock import ManualClock
from relayq.ports import BrokerListener, Clock, OutboxItem, Properties, Publication, QueueRole

MAX_PUBLISH_BYTES = 128 * 1024 * 1024
MAX_PRIORITY = 255


class RecordingListener:
    """`relayq.ports.BrokerListener` that keeps what it was told.

    Attributes:
        flow: ``blocked`` of each change, oldest first.
        losses: How many times items were lost.
        unroutable_publications: Publications that were given up, oldest first.
    """

    def __init__(self) -> None:
        self.flow: list[bool] = []
        self.losses = 0
        self.unroutable_publications: list[Publication] = []

    def flow_changed(self, *, blocked: bool) -> None:
        """Keep the event."""
        self.flow.append(blocked)

    def items_lost(self) -> None:
        """Keep the event."""
        self.losses += 1

    def unroutable(self, publication: Publication) -> None:
        """Keep the event."""
        self.unroutable_publications.append(publication)


class _Stored:
    """A message in the broker; ``key`` orders a queue: higher priority first, then oldest first."""

    __slots__ = ("key", "publication", "redelivered")

    def __init__(self, publication: Publication, number: int) -> None:
        priority = min(max(publication.properties.priority or 0, 0), MAX_PRIORITY)
        self.key = (MAX_PRIORITY - priority, number)
        self.publication = publication
        self.redelivered = False


class MemoryItem:
    """`relayq.ports.OutboxItem` of the memory broker."""

    __slots__ = ("_consumption", "_stored", "consumed_at", "is_held", "redelivered")

    def __init__(self, consumption: _MemoryConsumption, stored: _Stored, consumed_at: float) -> None:
        self._consumption = consumption
        self._stored = stored
        self.consumed_at = consumed_at
        self.redelivered = stored.redelivered
        self.is_held = True

    @property
    def body(self) -> bytes:
        """Octets as published."""
        return self._stored.publication.body

    @property
    def properties(self) -> Properties:
        """Properties as published."""
        return self._stored.publication.properties


class _MemoryConsumption:
    """A consumer of one queue."""

    def __init__(self, broker: MemoryBroker, queue: str, prefetch: int, deliver: Callable[[OutboxItem], None]) -> None:
        self.queue = queue
        self.prefetch = prefetch
        self.deliver = deliver
        self.held = 0
        self._broker = broker

    async def cancel(self) -> None:
        """Stop handing out."""
        self._broker._forget_consumption(self)

    async def set_prefetch(self, prefetch: int) -> None:
        """Change how many unsettled items may be out at once."""
        self.prefetch = prefetch
        self._broker._schedule_pump()


class MemoryBroker:
    """`relayq.ports.Broker` in memory.

    Attributes:
        published: Everything ever published, oldest first; grows without bound.
        settled: Items that were settled, oldest first.
        unroutable: Names of queues that cannot be reached: results for them are reported to the listener.
    """

    def __init__(self, clock: Clock, listener: BrokerListener | None = None) -> None:
        self.published: list[Publication] = []
        self.settled: list[MemoryItem] = []
        self.unroutable: set[str] = set()
        self._clock = clock
        self._listener: BrokerListener = listener if listener is not None else RecordingListener()
        self._ready: dict[str, list[_Stored]] = {}
        self._delayed: list[tuple[datetime, _Stored]] = []
        self._consumptions: list[_MemoryConsumption] = []
        self._held: dict[MemoryItem, None] = {}
        self._numbers = 0
        self._is_blocked = False
        self._waiting: list[tuple[MemoryItem | None, Sequence[Publication], asyncio.Future[None]]] = []
        self._pump_handle: asyncio.Handle | None = None
        self._due_timer: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def is_blocked(self) -> bool:
        """Set by `set_blocked`."""
        return self._is_blocked

    @property
    def max_publish_bytes(self) -> int:
        """As the embedded broker's default."""
        return MAX_PUBLISH_BYTES

    async def open(self) -> None:
        """Start to follow a `ManualClock`; other clocks need nothing."""
        if isinstance(self._clock, ManualClock) and self._unsubscribe is None:
            self._unsubscribe = self._clock.subscribe(self._schedule_pump)

    async def close(self) -> None:
        """Give back what is held and stop handing out. What is stored stays and can be inspected."""
        self._consumptions.clear()
        self._take_back_all()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for handle in (self._pump_handle, self._due_timer):
            if handle is not None:
                handle.cancel()
        self._pump_handle = self._due_timer = None

    async def consume(self, queue: str, prefetch: int, deliver: Callable[[OutboxItem], None]) -> _MemoryConsumption:
        """See `relayq.ports.Broker.consume`."""
        consumption = _MemoryConsumption(self, queue, prefetch, deliver)
        self._consumptions.append(consumption)
        self._schedule_pump()
        return consumption

    def settle(self, item: OutboxItem, publications: Sequence[Publication]) -> Awaitable[None]:
        """See `relayq.ports.Broker.settle`; done at once unless the broker is blocked."""
        assert isinstance(item, MemoryItem)
        return self._submit(item, tuple(publications))

    async def publish(self, publications: Sequence[Publication]) -> None:
        """See `relayq.ports.Broker.publish`."""
        await self._submit(None, tuple(publications))

    def requeue(self, item: OutboxItem) -> None:
        """See `relayq.ports.Broker.requeue`; the message keeps its place and is flagged as handed out before."""
        assert isinstance(item, MemoryItem)
        if self._release(item):
            self._put_back(item._stored)

    def set_blocked(self, *, blocked: bool) -> None:
        """Refuse publications, or take them again and complete what waits."""
        if blocked == self._is_blocked:
            return
        self._is_blocked = blocked
        if not blocked:
            waiting, self._waiting = self._waiting, []
            for item, publications, done in waiting:
                self._apply(item, publications, done)
        self._listener.flow_changed(blocked=blocked)

    def lose_items(self) -> None:
        """Behave as if every consumer connection had been cut: held items are handed out again, flagged."""
        self._take_back_all()
        self._listener.items_lost()

    def ready(self, queue: str) -> list[Publication]:
        """Messages of ``queue`` that could be handed out now, in that order."""
        self._promote_due()
        return [stored.publication for stored in self._ready.get(queue, [])]

    def delayed(self, queue: str) -> list[Publication]:
        """Messages that will appear in ``queue`` later, earliest first."""
        self._promote_due()
        return [stored.publication for _, stored in self._delayed if stored.publication.queue == queue]

    @property
    def unsettled(self) -> list[MemoryItem]:
        """Items that are handed out, oldest hand-out first."""
        return list(self._held)

    def bodies(self, queue: str) -> list[bytes]:
        """Bodies ever published to ``queue``, oldest first."""
        return [publication.body for publication in self.published if publication.queue == queue]

    def _submit(self, item: MemoryItem | None, publications: Sequence[Publication]) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_blocked and publications:
            self._waiting.append((item, publications, done))
        else:
            self._apply(item, publications, done)
        return done

    def _apply(self, item: MemoryItem | None, publications: Sequence[Publication], done: asyncio.Future[None]) -> None:
        for publication in publications:
            if publication.role is QueueRole.RESULT and publication.queue in self.unroutable:
                self._listener.unroutable(publication)
            else:
                self._store(publication)
        if item is not None and self._release(item):
            self.settled.append(item)
        if not done.done():
            done.set_result(None)
        self._schedule_pump()

    def _store(self, publication: Publication) -> None:
        self.published.append(publication)
        self._numbers += 1
        stored = _Stored(publication, self._numbers)
        if publication.due_at is not None and publication.due_at > self._clock.now():
            bisect.insort(self._delayed, (publication.due_at, stored), key=lambda entry: entry[0])
        else:
            self._put_in_place(stored)

    def _put_in_place(self, stored: _Stored) -> None:
        queue = self._ready.setdefault(stored.publication.queue, [])
        bisect.insort(queue, stored, key=lambda other: other.key)

    def _put_back(self, stored: _Stored) -> None:
        stored.redelivered = True
        self._put_in_place(stored)
        self._schedule_pump()

    def _release(self, item: MemoryItem) -> bool:
        """Whether the item was still held; it no longer is."""
        if not item.is_held:
            return False
        item.is_held = False
        item._consumption.held -= 1
        del self._held[item]
        return True

    def _take_back_all(self) -> None:
        for item in tuple(self._held):
            self._release(item)
            self._put_back(item._stored)

    def _forget_consumption(self, consumption: _MemoryConsumption) -> None:
        if consumption in self._consumptions:
            self._consumptions.remove(consumption)

    def _promote_due(self) -> None:
        now = self._clock.now()
        while self._delayed and self._delayed[0][0] <= now:
            self._put_in_place(self._delayed.pop(0)[1])

    def _schedule_pump(self) -> None:
        if self._pump_handle is None and self._consumptions:
            self._pump_handle = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_handle = None
        self._promote_due()
        for consumption in tuple(self._consumptions):
            self._hand_out(consumption)
        self._arm_due_timer()

    def _hand_out(self, consumption: _MemoryConsumption) -> None:
        queue = self._ready.get(consumption.queue, [])
        while queue and consumption.held < consumption.prefetch and consumption in self._consumptions:
            item = MemoryItem(consumption, queue.pop(0), self._clock.monotonic())
            consumption.held += 1
            self._held[item] = None
            consumption.deliver(item)

    def _arm_due_timer(self) -> None:
        if self._due_timer is not None:
            self._due_timer.cancel()
            self._due_timer = None
        if self._delayed and not isinstance(self._clock, ManualClock):
            left = (self._delayed[0][0] - self._clock.now()).total_seconds()
            self._due_timer = asyncio.get_running_loop().call_later(max(left, 0.0) + 0.001, self._schedule_pump)
