"""Which messages may wait in memory, and for how long.

The prefetch of the outbox is one window that all destinations share, and every message in it that does not move costs
the others twice: it takes a place, and the broker goes past it at each acknowledgement of a later one. So while there
is more in the outbox than the window holds, a destination keeps only what it starts in time. The rest goes to its
parking place (spec delivery.md 2.1, amqp.md 11; config ``domain-maxqueue``), and so does whatever comes for it later,
until little enough is parked. From there it is fetched as fast as the destination takes it, on a channel of its own.

What *in time* means is a minute as long as there is room: the way round through the broker would only make messages
later. In a full window it is what ``delivery.reach`` finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from relayq.delivery.reach import ALONE_REACH, Load, choose_reach
from relayq.delivery.waiting import PARKED_SECONDS

JUDGED_AFTER = 2.0
"""Seconds over which it is counted how many messages a destination starts, as long as the window is not full.

In a full window of which nothing started yet so long for one that has all of it, and longer the less of it one has.
"""
SAMPLE = 10
"""In a full window it is counted for as long as a destination that moves like the average takes to start so many."""
SHORTEST_COUNT, LONGEST_COUNT = 0.5, 10.0
"""Bounds of that, in seconds."""
CROWDED_SHARE = 0.9
"""Part of the prefetch in use from which on the window counts as full."""
SHORTEST_REACH = 1.0
MIN_SHARE = 10
NEGLIGIBLE = 0.05
"""Messages per second that are none."""
OVER_CAPACITY = "destination over capacity"
HELD_TOO_LONG = "held too long"


class AdmissionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        max_queue: Messages of a destination that is too slow for them kept in memory.
        max_hold: Seconds a message may wait before its transaction starts.
        prefetch: Messages the broker hands out at once.
        least_reach: Seconds within which a destination may in any case start what it keeps.
    """

    max_queue: int = 500
    max_hold: float = 600.0
    prefetch: int = 1000
    least_reach: float = SHORTEST_REACH


class Ticket(msgspec.Struct, eq=False):
    """One admitted message that has not started its transaction.

    Attributes:
        destination: Where it goes.
        since: Monotonic instant at which it was consumed.
        is_fetched: It comes from a parking place, and so is not part of the window.
        task: The task handling it.
        is_opening: It is opening a connection for itself and others.
        verdict: Why it was sent away, set right before its task is cancelled.
    """

    destination: object
    since: float
    is_fetched: bool = False
    task: asyncio.Task[None] | None = None
    is_opening: bool = False
    verdict: str | None = None

    def send_away(self, reason: str) -> None:
        """Interrupt the wait; the message goes back to the broker."""
        if self.task is not None and self.verdict is None:
            self.verdict = reason
            self.task.cancel()


class _Queue:
    """Messages of one destination, in the order in which they came.

    Attributes:
        tickets: Those that wait.
        fetched: How many of them come from the parking place.
        started: Messages started since ``counted_since``, not those sent away.
        counted_since: Monotonic instant; ``None`` until the first sweep saw it.
        rate: Messages it starts per second, the latest counts weighing most; ``None`` until it was counted.
        limit: How many of the window may wait; ``None`` for any number, and a destination that is not too slow.
        reach: Seconds it had when it was found too slow, else the usual ones.
        startable: How many it starts in time.
    """

    __slots__ = ("counted_since", "fetched", "limit", "rate", "reach", "startable", "started", "tickets")

    def __init__(self) -> None:
        self.tickets: dict[Ticket, None] = {}
        self.fetched = 0
        self.started = 0
        self.counted_since: float | None = None
        self.rate: float | None = None
        self.limit: int | None = None
        self.reach = PARKED_SECONDS
        self.startable = 0

    @property
    def direct(self) -> int:
        """Messages of the window that wait."""
        return len(self.tickets) - self.fetched

    def count(self, now: float, seconds: float) -> None:
        """Look how many it started, if the last look is long enough ago."""
        if self.counted_since is None:
            self.started = 0
            self.counted_since = now
        elapsed = now - self.counted_since
        if elapsed >= seconds:
            latest = self.started / elapsed
            rate = latest if self.rate is None else (self.rate + latest) / 2
            self.rate = rate if rate >= NEGLIGIBLE else 0.0
            self.started = 0
            self.counted_since = now

    def judge(self, backlog: int, reach: float, *, is_crowded: bool) -> None:
        """Whether more wait, here and parked, than it starts in time; sets the limit to 0 if so.

        What was too slow for a full window stays so with more room, for a while: or it would be filled again.
        """
        reach = min(reach, self.reach if is_crowded else self.reach * 2)
        self.startable = int((self.rate or 0.0) * reach)
        is_too_slow = self.rate is not None and backlog > self.startable
        self.limit = 0 if is_too_slow else None
        self.reach = reach if is_too_slow else PARKED_SECONDS


class Admission:
    """Waiting messages by destination."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.limits = limits
        self._queues: dict[object, _Queue] = {}
        self._count = 0
        self._fetched = 0
        self._started = 0
        self._rate = 0.0
        self._swept_at: float | None = None
        self._crowded_since: float | None = None

    def __len__(self) -> int:
        """Messages waiting for a session."""
        return self._count

    def admit(
        self, destination: object, since: float, *, is_fetched: bool = False, is_urgent: bool = False
    ) -> Ticket | None:
        """A ticket for a message, ``None`` when it has to go back to the broker at once.

        Args:
            destination: Where it goes.
            since: Monotonic instant at which it was consumed.
            is_fetched: It comes from the parking place: it was fetched because there is room for it.
            is_urgent: It has priority: it does not queue up behind what is parked.
        """
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = _Queue()
        elif queue.limit is not None and not is_fetched:
            limit = max(queue.limit, queue.startable, MIN_SHARE) if is_urgent else queue.limit
            if queue.direct >= limit:
                return None
        ticket = Ticket(destination, since, is_fetched=is_fetched)
        self._add(queue, ticket)
        return ticket

    def _add(self, queue: _Queue, ticket: Ticket) -> None:
        queue.tickets[ticket] = None
        queue.fetched += ticket.is_fetched
        self._fetched += ticket.is_fetched
        self._count += 1

    def room(self, destination: object) -> int:
        """How many more messages of ``destination`` could be started in time."""
        queue = self._queues.get(destination)
        if queue is None:
            return self.limits.max_queue
        if queue.limit is None:
            limit = max(self.limits.max_queue, queue.startable)
        elif queue.rate:
            limit = max(MIN_SHARE, queue.startable)
        else:
            limit = 1  # it stands still: one suffices to find out when it moves again
        return max(limit - len(queue.tickets), 0)

    def has_room_again(self, destination: object) -> bool:
        """Whether at most half of what may wait does: fetching single messages back would only send others away."""
        queue = self._queues.get(destination)
        return queue is None or self.room(destination) >= len(queue.tickets)

    def started(self, ticket: Ticket) -> None:
        """The message has a session, or is done without one."""
        queue = self._queues.get(ticket.destination)
        if queue is not None and queue.tickets.pop(ticket, self) is None:
            queue.fetched -= ticket.is_fetched
            self._fetched -= ticket.is_fetched
            self._count -= 1
            if ticket.verdict is None:
                queue.started += 1
                self._started += 1
            if not queue.tickets and queue.limit is None:
                del self._queues[ticket.destination]

    def wait_again(self, ticket: Ticket) -> None:
        """The session the message had was none: it waits for another one."""
        queue = self._queues.setdefault(ticket.destination, _Queue())
        if ticket not in queue.tickets:
            self._add(queue, ticket)

    def sweep(self, now: float, held: int, parked: Callable[[object], int]) -> None:
        """Find destinations that are too slow, and send away what waits beyond their share, or anywhere for too long.

        Args:
            now: Monotonic instant.
            held: Messages of the window, handed out by the broker and not yet settled.
            parked: How many messages of a destination are parked, as far as is known.
        """
        self._count_started(now)
        is_crowded = held >= CROWDED_SHARE * self.limits.prefetch
        if not is_crowded:
            self._crowded_since = None
        elif self._crowded_since is None:
            self._crowded_since = now
        backlogs = self._look_round(now, parked, is_crowded=is_crowded)
        reach = max(self._choose_reach(now, backlogs) if is_crowded else PARKED_SECONDS, self.limits.least_reach)
        for destination, backlog in backlogs.items():
            queue = self._queues[destination]
            queue.judge(backlog, reach, is_crowded=is_crowded)
            if queue.limit is not None:
                self._confine(queue, is_parked=backlog > len(queue.tickets), is_crowded=is_crowded)

    def _count_started(self, now: float) -> None:
        if self._swept_at is not None and now > self._swept_at:
            if self._started and not self._rate and self._crowded_since is not None:
                for queue in self._queues.values():
                    queue.counted_since = None  # now it begins: nobody was slow before
            self._rate = (self._rate + self._started / (now - self._swept_at)) / 2
        self._started = 0
        self._swept_at = now

    def _seconds_to_count(self, queue: _Queue) -> float:
        """For a full window: so long that a small number is no accident."""
        waiting = self._count - self._fetched
        if not self._rate:
            # Perhaps DNS or the network is slow to begin, and all of them will go: parking them would help nobody.
            return min(JUDGED_AFTER * max(waiting / max(queue.direct, 1), 1.0), LONGEST_COUNT)
        average = waiting / self._rate
        return min(max(SAMPLE * average / max(len(queue.tickets), 1), SHORTEST_COUNT), LONGEST_COUNT)

    def _look_round(self, now: float, parked: Callable[[object], int], *, is_crowded: bool) -> dict[object, int]:
        """Messages by destination, here and parked; those that waited for too long are sent away."""
        held_since = now - self.limits.max_hold
        backlogs: dict[object, int] = {}
        for destination, queue in list(self._queues.items()):
            queue.count(now, self._seconds_to_count(queue) if is_crowded else JUDGED_AFTER)
            backlog = len(queue.tickets) + parked(destination)
            if not backlog:
                del self._queues[destination]
                continue
            backlogs[destination] = backlog
            for ticket in queue.tickets:
                if ticket.since <= held_since and not ticket.is_opening:
                    ticket.send_away(HELD_TOO_LONG)
        return backlogs

    def _choose_reach(self, now: float, backlogs: dict[object, int]) -> float:
        if self._crowded_since is None or now - self._crowded_since < SHORTEST_COUNT:
            return PARKED_SECONDS
        queues = self._queues
        loads = [
            Load(queues[destination].direct, backlog, rate)
            for destination, backlog in backlogs.items()
            if (rate := queues[destination].rate) is not None
        ]
        reach = choose_reach(loads, self._count - self._fetched, self._rate, self.limits.prefetch)
        return PARKED_SECONDS if reach == ALONE_REACH and now - self._crowded_since < ALONE_REACH else reach

    def _confine(self, queue: _Queue, *, is_parked: bool, is_crowded: bool) -> None:
        """Keep what a destination that is too slow starts in time; with room in the window, a whole queue."""
        keep = max(queue.startable, 1 if is_crowded else self.limits.max_queue)
        if not is_parked:
            queue.limit = keep
        self._trim(queue, keep)

    def send_all_away(self, reason: str) -> None:
        """Interrupt every wait, even where a connection is being opened: nothing may start now."""
        for queue in self._queues.values():
            for ticket in list(queue.tickets):
                ticket.send_away(reason)

    @staticmethod
    def _trim(queue: _Queue, keep: int) -> None:
        """Send away the newest; whoever opens a connection does so for all, and has the clocks of the dialogue."""
        waiting = [ticket for ticket in queue.tickets if not ticket.is_opening and not ticket.is_fetched]
        for ticket in waiting[keep:]:
            ticket.send_away(OVER_CAPACITY)
