"""Which messages may wait in memory, and for how long.

The prefetch of the outbox is one window that all destinations share. A destination that stands still must not fill it:
beyond its share its messages go back to the broker for a while. One that moves may have as much of the window as it
wants, however long its queue is (spec delivery.md 2.1, amqp.md 11; config ``domain-maxqueue``).
"""

from __future__ import annotations

import asyncio

import msgspec

STALLED_AFTER = 2.0
"""Seconds the first waiting message of a destination waits before the destination counts as standing still."""
CROWDED_SHARE = 0.9
"""Part of the prefetch in use from which on standing destinations have to share half of it."""
MIN_SHARE = 10


class AdmissionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        max_queue: Messages of a destination that stands still kept in memory.
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


class Admission:
    """Waiting messages by destination."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.limits = limits
        self._waiting: dict[object, dict[Ticket, None]] = {}
        self._stalled: dict[object, int] = {}
        self._count = 0

    def __len__(self) -> int:
        """Messages waiting for a session."""
        return self._count

    def admit(self, destination: object, since: float) -> Ticket | None:
        """A ticket for a message of ``destination``, ``None`` when it has to go back to the broker at once."""
        waiting = self._waiting.get(destination)
        if waiting is None:
            waiting = self._waiting[destination] = {}
        elif self._stalled and len(waiting) >= self._stalled.get(destination, len(waiting) + 1):
            return None
        ticket = Ticket(destination, since)
        waiting[ticket] = None
        self._count += 1
        return ticket

    def started(self, ticket: Ticket) -> None:
        """The message has a session, or is done without one."""
        waiting = self._waiting.get(ticket.destination)
        if waiting is not None and waiting.pop(ticket, self) is None:
            self._count -= 1
            if not waiting:
                del self._waiting[ticket.destination]
                self._stalled.pop(ticket.destination, None)

    def wait_again(self, ticket: Ticket) -> None:
        """The session the message had was none: it waits for another one."""
        waiting = self._waiting.setdefault(ticket.destination, {})
        if ticket not in waiting:
            waiting[ticket] = None
            self._count += 1

    def sweep(self, now: float, held: int) -> None:
        """Find destinations that stand still, and send away what waits beyond their share or for too long.

        Args:
            now: Monotonic instant.
            held: Messages handed out by the broker and not yet settled.
        """
        stalled = [
            destination
            for destination, waiting in self._waiting.items()
            if now - next(iter(waiting)).since >= STALLED_AFTER
        ]
        share = self.limits.max_queue
        if stalled and held >= CROWDED_SHARE * self.limits.prefetch:
            share = min(share, max(MIN_SHARE, self.limits.prefetch // (2 * len(stalled))))
        self._stalled = dict.fromkeys(stalled, share)
        for destination in stalled:
            self._trim(self._waiting[destination], share, now - self.limits.max_hold)

    def send_all_away(self, reason: str) -> None:
        """Interrupt every wait, even where a connection is being opened: nothing may start now."""
        for waiting in self._waiting.values():
            for ticket in list(waiting):
                ticket.send_away(reason)

    def _trim(self, waiting: dict[Ticket, None], share: int, held_since: float) -> None:
        # Whoever opens a connection does so for all of them, and has the clocks of the dialogue.
        tickets = [ticket for ticket in waiting if not ticket.is_opening]
        for ticket in tickets[share:]:
            ticket.send_away("destination over capacity")
        for ticket in tickets[:share]:
            if ticket.since > held_since:
                return
            ticket.send_away("held too long")
