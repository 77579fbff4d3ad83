"""A broker in a few dictionaries: deterministic, inspectable, gone with the process.

Every change takes effect inside the call that asks for it; only the hand-out of messages waits for the next turn of the
event loop, so that ``deliver`` never runs inside ``publish`` or ``settle``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from relayq.adapters.memory.clock import ManualClock
from relayq.adapters.memory.queues import MemoryQueues, StoredMessage
from relayq.ports import BrokerListener, Clock, OutboxItem, Parking, Properties, Publication, QueueRole

MAX_PUBLISH_BYTES = 128 * 1024 * 1024
HAND_OUT_BYTES = 1 << 20
"""Handed out in one turn of the event loop, like what comes from a socket at once."""


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

    def replace_copy(self, publication: Publication) -> Publication | None:
        """As it is."""
        return publication

    def unroutable(self, publication: Publication) -> None:
        """Keep the event."""
        self.unroutable_publications.append(publication)


class MemoryChannel:
    """`relayq.ports.Origin` of the memory broker: from one loss to the next."""

    is_lost = False


class MemoryItem:
    """`relayq.ports.OutboxItem` of the memory broker."""

    __slots__ = ("channel", "consumed_at", "consumption", "is_held", "message", "redelivered")
    identity = b""

    def __init__(
        self, consumption: MemoryConsumption, channel: MemoryChannel, message: StoredMessage, consumed_at: float
    ) -> None:
        self.consumption = consumption
        self.channel = channel
        self.message = message
        self.consumed_at = consumed_at
        self.redelivered = message.redelivered
        self.is_held = True

    @property
    def origin(self) -> MemoryChannel:
        """What is lost with all items of its time."""
        return self.channel

    @property
    def body(self) -> bytes:
        """Octets as published."""
        return self.message.publication.body

    @property
    def properties(self) -> Properties:
        """Properties as published, without an encoding that was not the body's."""
        return self.message.properties


class MemoryConsumption:
    """`relayq.ports.Consumption` of the memory broker; ``drained`` is given when it drains a parking queue."""

    def __init__(
        self,
        broker: MemoryBroker,
        queue: str,
        prefetch: int,
        deliver: Callable[[OutboxItem], None],
        drained: asyncio.Future[bool] | None = None,
    ) -> None:
        self.drained = drained
        self.queue = queue
        self.prefetch = prefetch
        self.deliver = deliver
        self.held = 0
        self.is_cancelled = False
        self._broker = broker

    async def cancel(self) -> None:
        """Stop handing out."""
        self.is_cancelled = True

    async def set_prefetch(self, prefetch: int) -> None:
        """Change how many unsettled items may be out at once."""
        self.prefetch = prefetch
        self._broker.wake()


class MemoryBroker:
    """`relayq.ports.Broker` in memory.

    Attributes:
        published: Everything this broker ever published, oldest first; grows without bound.
        settled: Items that were settled while they were held, oldest first.
        unroutable: Names of queues that cannot be reached: results for them are reported to the listener.
    """

    def __init__(
        self, clock: Clock, listener: BrokerListener | None = None, queues: MemoryQueues | None = None
    ) -> None:
        """Make a broker.

        Args:
            clock: Decides what is due; a `ManualClock` is followed from `open` on.
            listener: Is told of changes.
            queues: Storage shared with other brokers, ``None`` = one of its own.
        """
        self.published: list[Publication] = []
        self.settled: list[MemoryItem] = []
        self.unroutable: set[str] = set()
        self._channel = MemoryChannel()
        self.consumers: int | None = None
        self._clock = clock
        self._listener: BrokerListener = listener if listener is not None else RecordingListener()
        self._queues = queues if queues is not None else MemoryQueues(clock)
        self._consumptions: list[MemoryConsumption] = []
        self._follows = False
        self._held: dict[MemoryItem, None] = {}
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
    def is_connected(self) -> bool:
        """Always."""
        return True

    @property
    def max_publish_bytes(self) -> int:
        """As the embedded broker's default."""
        return MAX_PUBLISH_BYTES

    async def open(self) -> None:
        """Start to follow a `ManualClock`; other clocks need nothing."""
        if isinstance(self._clock, ManualClock) and self._unsubscribe is None:
            self._unsubscribe = self._clock.subscribe(self.wake)

    async def close(self) -> None:
        """Give back what is held and stop handing out. What is stored stays and can be inspected."""
        if self._follows:
            self._follows = False
            self._queues.on_change.remove(self.wake)
        for consumption in self._consumptions:
            if consumption.drained is not None and not consumption.drained.done():
                consumption.drained.set_result(False)
        self._consumptions.clear()
        self._take_back_all()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for handle in (self._pump_handle, self._due_timer):
            if handle is not None:
                handle.cancel()
        self._pump_handle = self._due_timer = None

    async def consume(self, queue: str, prefetch: int, deliver: Callable[[OutboxItem], None]) -> MemoryConsumption:
        """See `relayq.ports.Broker.consume`."""
        consumption = MemoryConsumption(self, queue, prefetch, deliver)
        self._add(consumption)
        return consumption

    def _add(self, consumption: MemoryConsumption) -> None:
        if not self._follows:
            self._follows = True
            self._queues.on_change.append(self.wake)
        self._consumptions.append(consumption)
        self.wake()

    async def drain(self, queue: str, parking: Parking, prefetch: int, deliver: Callable[[OutboxItem], None]) -> bool:
        """See `relayq.ports.Broker.drain`."""
        drained: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        consumption = MemoryConsumption(self, parking.queue(queue), prefetch, deliver, drained)
        self._add(consumption)
        try:
            return await drained
        finally:
            consumption.is_cancelled = True
            if consumption in self._consumptions:
                self._consumptions.remove(consumption)

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
            self._queues.put_back(item.message)

    async def count_consumers(self, queue: str) -> int | None:
        """What a test says."""
        return self.consumers

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
        self._channel.is_lost = True
        self._channel = MemoryChannel()
        self._listener.items_lost()

    def ready(self, queue: str) -> list[Publication]:
        """Messages of ``queue`` that could be handed out now, in that order."""
        return [message.publication for message in self._queues.ready(queue)]

    def delayed(self, queue: str) -> list[Publication]:
        """Messages that will appear in ``queue`` later, earliest first."""
        return [message.publication for message in self._queues.delayed(queue)]

    def parked(self, name: str | None = None) -> list[Publication]:
        """Messages of a parking queue, by its whole name, or of all; earliest first."""
        return [message.publication for message in self._queues.parked(name)]

    @property
    def unsettled(self) -> list[MemoryItem]:
        """Items that are handed out, oldest hand-out first."""
        return list(self._held)

    def bodies(self, queue: str) -> list[bytes]:
        """Bodies this broker ever published to ``queue``, oldest first."""
        return [publication.body for publication in self.published if publication.queue == queue]

    def wake(self) -> None:
        """Hand out what is ready in the next turn of the event loop."""
        if self._pump_handle is None and self._consumptions:
            self._pump_handle = asyncio.get_running_loop().call_soon(self._pump)

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
                self.published.append(publication)
                self._queues.store(publication)
        if item is not None and self._release(item):
            self.settled.append(item)
            self.wake()
        if not done.done():
            done.set_result(None)

    def _release(self, item: MemoryItem) -> bool:
        """Whether the item was still held; it no longer is."""
        if not item.is_held:
            return False
        item.is_held = False
        item.consumption.held -= 1
        del self._held[item]
        return True

    def _take_back_all(self) -> None:
        for item in tuple(self._held):
            self._release(item)
            self._queues.put_back(item.message)

    def _pump(self) -> None:
        self._pump_handle = None
        for consumption in tuple(self._consumptions):
            self._hand_out(consumption)
        self._arm_due_timer()

    def _hand_out(self, consumption: MemoryConsumption) -> None:
        octets = 0
        while consumption.held < consumption.prefetch and not consumption.is_cancelled:
            if octets >= HAND_OUT_BYTES:
                self.wake()
                return
            if consumption.drained is None:
                message = self._queues.take(consumption.queue)
            else:
                message = self._queues.take_parked(consumption.queue)
            if message is None:
                if consumption.drained is not None and not consumption.drained.done():
                    consumption.drained.set_result(True)
                return
            item = MemoryItem(consumption, self._channel, message, self._clock.monotonic())
            consumption.held += 1
            self._held[item] = None
            octets += len(item.body)
            consumption.deliver(item)

    def _arm_due_timer(self) -> None:
        if self._due_timer is not None:
            self._due_timer.cancel()
            self._due_timer = None
        left = self._queues.seconds_to_due()
        if left is not None and not isinstance(self._clock, ManualClock):
            self._due_timer = asyncio.get_running_loop().call_later(left + 0.001, self.wake)
