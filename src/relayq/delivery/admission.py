"""Which messages may wait in memory, and for how long.

The prefetch of the outbox is one window that all destinations share. A destination that stands still must not fill it:
beyond its share its messages go back to the broker for a while. One that moves may keep whatever it starts within that
while, because the way round through the broker would only make those messages later (spec delivery.md 2.1, amqp.md 11;
config ``domain-maxqueue``).
"""

from __future__ import annotations

import asyncio

import msgspec

from relayq.delivery.waiting import PARKED_SECONDS

JUDGED_AFTER = 2.0
"""Seconds over which it is counted how many messages a destination starts."""
CROWDED_SHARE = 0.9
"""Part of the prefetch in use from which on the destinations that are too slow have to share half of it."""
MIN_SHARE = 10
OVER_CAPACITY = "destination over capacity"
HELD_TOO_LONG = "held too long"


class AdmissionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        max_queue: Messages of a destination that is too slow for them kept in memory.
        max_hold: Seconds a message may wait before its transaction starts.
        prefetch: Messages the broker hands out at once.
    """

    max_queue: int = 500
    max_hold: float = 600.0
    prefetch: int = 1000


class Ticket:
    """One admitted message that has not started its transaction.

    Attributes:
        destination: Where it goes.
        since: Monotonic instant at which it was consumed.
        task: The task handling it.
        is_opening: It is opening a connection for itself and others.
        verdict: Why it was sent away, set right before its task is cancelled.
    """

    __slots__ = ("destination", "is_opening", "since", "task", "verdict")

    def __init__(self, destination: object, since: float) -> None:
        self.destination = destination
        self.since = since
        self.task: asyncio.Task[None] | None = None
        self.is_opening = False
        self.verdict: str | None = None

    def send_away(self, reason: str) -> None:
        """Interrupt the wait; the message goes back to the broker."""
        if self.task is not None and self.verdict is None:
            self.verdict = reason
            self.task.cancel()


class _Queue:
    """Messages of one destination, in the order in which they came.

    Attributes:
        tickets: Those that wait.
        started: Messages started since ``counted_since``, not those sent away.
        counted_since: Monotonic instant; ``None`` until the first sweep saw it.
        reach: Messages it starts while one takes the way round through the broker; ``None`` until it was counted.
        limit: How many may wait; ``None`` for any number.
    """

    __slots__ = ("counted_since", "limit", "reach", "started", "tickets")

    def __init__(self) -> None:
        self.tickets: dict[Ticket, None] = {}
        self.started = 0
        self.counted_since: float | None = None
        self.reach: float | None = None
        self.limit: int | None = None

    def is_too_slow(self, now: float) -> bool:
        """Whether more wait than it starts in time, by the latest count."""
        if self.counted_since is None:
            self.started = 0
            self.counted_since = now
        elapsed = now - self.counted_since
        if elapsed >= JUDGED_AFTER:
            self.reach = self.started / elapsed * PARKED_SECONDS
            self.started = 0
            self.counted_since = now
        return self.reach is not None and len(self.tickets) > self.reach


class Admission:
    """Waiting messages by destination."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.limits = limits
        self._queues: dict[object, _Queue] = {}
        self._count = 0

    def __len__(self) -> int:
        """Messages waiting for a session."""
        return self._count

    def admit(self, destination: object, since: float) -> Ticket | None:
        """A ticket for a message of ``destination``, ``None`` when it has to go back to the broker at once."""
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = _Queue()
        elif queue.limit is not None and len(queue.tickets) >= queue.limit:
            return None
        ticket = Ticket(destination, since)
        queue.tickets[ticket] = None
        self._count += 1
        return ticket

    def room(self, destination: object) -> int:
        """How many more messages of ``destination`` could be started in time."""
        queue = self._queues.get(destination)
        if queue is None:
            return self.limits.max_queue
        limit = max(self.limits.max_queue, int(queue.reach or 0.0)) if queue.limit is None else queue.limit
        return max(limit - len(queue.tickets), 0)

    def has_room_again(self, destination: object) -> bool:
        """Whether at most half of what may wait does: fetching single messages back would only send others away."""
        queue = self._queues.get(destination)
        return queue is None or self.room(destination) >= len(queue.tickets)

    def started(self, ticket: Ticket) -> None:
        """The message has a session, or is done without one."""
        queue = self._queues.get(ticket.destination)
        if queue is not None and queue.tickets.pop(ticket, self) is None:
            self._count -= 1
            if ticket.verdict is None:
                queue.started += 1
            if not queue.tickets:
                del self._queues[ticket.destination]

    def wait_again(self, ticket: Ticket) -> None:
        """The session the message had was none: it waits for another one."""
        queue = self._queues.setdefault(ticket.destination, _Queue())
        if ticket not in queue.tickets:
            queue.tickets[ticket] = None
            self._count += 1

    def sweep(self, now: float, held: int) -> None:
        """Find destinations that are too slow, and send away what waits beyond their share, or anywhere for too long.

        Args:
            now: Monotonic instant.
            held: Messages handed out by the broker and not yet settled.
        """
        held_since = now - self.limits.max_hold
        slow: list[_Queue] = []
        for queue in self._queues.values():
            queue.limit = None
            if queue.is_too_slow(now):
                slow.append(queue)
            for ticket in queue.tickets:
                if ticket.since <= held_since and not ticket.is_opening:
                    ticket.send_away(HELD_TOO_LONG)
        share = self.limits.max_queue
        if slow and held >= CROWDED_SHARE * self.limits.prefetch:
            share = min(share, max(MIN_SHARE, self.limits.prefetch // (2 * len(slow))))
        for queue in slow:
            queue.limit = max(share, int(queue.reach or 0.0))
            self._trim(queue, queue.limit)

    def send_all_away(self, reason: str) -> None:
        """Interrupt every wait, even where a connection is being opened: nothing may start now."""
        for queue in self._queues.values():
            for ticket in list(queue.tickets):
                ticket.send_away(reason)

    @staticmethod
    def _trim(queue: _Queue, limit: int) -> None:
        """Send away the newest; whoever opens a connection does so for all, and has the clocks of the dialogue."""
        waiting = [ticket for ticket in queue.tickets if not ticket.is_opening]
        for ticket in waiting[limit:]:
            ticket.send_away(OVER_CAPACITY)
