"""What memory brokers share, as processes share a real broker: the messages, and where each of them stands."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from relayq.ports import Clock, Properties, Publication

MAX_PRIORITY = 255


class StoredMessage:
    """A message in the broker.

    Attributes:
        key: Orders a queue: higher priority first, then oldest first.
        publication: As it was published.
        properties: As they are handed out.
        redelivered: It was handed out before.
    """

    __slots__ = ("key", "properties", "publication", "redelivered")

    def __init__(self, publication: Publication, number: int) -> None:
        properties = publication.properties
        if properties.content_encoding is not None and not publication.is_verbatim:
            properties = msgspec.structs.replace(properties, content_encoding=None)
        priority = min(max(properties.priority or 0, 0), MAX_PRIORITY)
        self.key = (MAX_PRIORITY - priority, number)
        self.publication = publication
        self.properties: Properties = properties
        self.redelivered = False


class MemoryQueues:
    """Queues by name; several `MemoryBroker` objects may use one of these.

    Attributes:
        on_change: Called after every change that may have made a message ready.
    """

    def __init__(self, clock: Clock) -> None:
        self.on_change: list[Callable[[], None]] = []
        self._clock = clock
        self._ready: dict[str, list[StoredMessage]] = {}
        self._delayed: list[tuple[datetime, StoredMessage]] = []
        self._parked: dict[str, list[tuple[datetime, StoredMessage]]] = {}
        self._numbers = 0

    def store(self, publication: Publication) -> None:
        """Take a new message; it is ready, or will be at its time."""
        self._numbers += 1
        message = StoredMessage(publication, self._numbers)
        if publication.parking is not None:
            name = publication.parking.queue(publication.queue)
            until = self._clock.now() + timedelta(seconds=publication.parking.seconds)
            bisect.insort(self._parked.setdefault(name, []), (until, message), key=lambda entry: entry[0])
        elif publication.due_at is not None and publication.due_at > self._clock.now():
            bisect.insort(self._delayed, (publication.due_at, message), key=lambda entry: entry[0])
        else:
            self._put_in_place(message)
        self._changed()

    def put_back(self, message: StoredMessage) -> None:
        """Take back a message that was handed out: it returns to its place, flagged."""
        message.redelivered = True
        self._put_in_place(message)
        self._changed()

    def take(self, queue: str) -> StoredMessage | None:
        """Remove and return the next ready message, ``None`` when there is none."""
        ready = self.ready(queue)
        return ready.pop(0) if ready else None

    def take_parked(self, name: str) -> StoredMessage | None:
        """Remove and return what was parked first in a parking queue, ``None`` when it is empty."""
        self._unpark()
        parked = self._parked.get(name)
        return parked.pop(0)[1] if parked else None

    def parked(self, name: str | None) -> list[StoredMessage]:
        """Messages of a parking queue, or of all, earliest first."""
        self._unpark()
        names = self._parked if name is None else (name,)
        return [message for name in names for _, message in self._parked.get(name, ())]

    def _unpark(self) -> None:
        """Bring back what was parked for too long."""
        now = self._clock.now()
        for name, parked in list(self._parked.items()):
            while parked and parked[0][0] <= now:
                self._put_in_place(parked.pop(0)[1])
            if not parked:
                del self._parked[name]

    def ready(self, queue: str) -> list[StoredMessage]:
        """Messages that could be handed out now, in that order."""
        self._unpark()
        now = self._clock.now()
        while self._delayed and self._delayed[0][0] <= now:
            self._put_in_place(self._delayed.pop(0)[1])
        return self._ready.setdefault(queue, [])

    def delayed(self, queue: str) -> list[StoredMessage]:
        """Messages that will be ready later, earliest first."""
        now = self._clock.now()
        return [message for due_at, message in self._delayed if due_at > now and message.publication.queue == queue]

    def seconds_to_due(self) -> float | None:
        """Seconds until the earliest delayed or parked message is due, ``None`` when there is none."""
        dues = [entries[0][0] for entries in (self._delayed, *self._parked.values()) if entries]
        return max((min(dues) - self._clock.now()).total_seconds(), 0.0) if dues else None

    def _put_in_place(self, message: StoredMessage) -> None:
        bisect.insort(self._ready.setdefault(message.publication.queue, []), message, key=lambda other: other.key)

    def _changed(self) -> None:
        for callback in tuple(self.on_change):
            callback()
