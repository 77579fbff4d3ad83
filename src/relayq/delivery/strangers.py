"""Other machines that consume the same outbox, noticed by the broker's count of consumers.

Their journals cannot be read, and they cannot be asked: what one of them had in hand when it died is handed out here,
and nobody knows how far it had come. So it is sent with a mark. That there are such machines is remembered for a day
beyond the last time they were seen, also by the next process: the one that dies is not seen any more.
"""

from __future__ import annotations

from relayq.delivery.ledger import OutcomeLedger
from relayq.ports import Broker, Clock, Observer, OutcomeJournal

LOOK_SECONDS = 10.0
SURE_SECONDS = 180.0
"""For so long the broker may count a connection of ours that broke without its knowledge: two heartbeats, and some."""
KNOWN_SECONDS = 86_400.0
"""For so long they are reckoned with when they are not seen."""


class Strangers:
    """Looks now and then. A broker of this machine alone has none."""

    def __init__(
        self,
        broker: Broker,
        journal: OutcomeJournal,
        ledger: OutcomeLedger,
        outbox: str,
        consumers: int,
        clock: Clock,
        observer: Observer,
    ) -> None:
        """Nobody has looked yet.

        Args:
            broker: Counts.
            journal: Knows the processes of this machine, and remembers.
            ledger: Told whether there are strangers.
            outbox: Queue in question.
            consumers: What one process has of them.
            clock: The present.
            observer: Told when they are seen for the first time.
        """
        self._broker = broker
        self._journal = journal
        self._ledger = ledger
        self._outbox = outbox
        self._consumers = consumers
        self._clock = clock
        self._observer = observer
        self._first_at: float | None = None
        self._last_at: float | None = None
        self._next_at = 0.0

    def recall(self) -> None:
        """What an earlier process, or another one, has seen."""
        age = self._journal.strangers_age()
        if age is not None and age < KNOWN_SECONDS:
            self._last_at = self._clock.monotonic() - age
        self._tell()

    @property
    def is_due(self) -> bool:
        """It is time to look."""
        return self._clock.monotonic() >= self._next_at

    async def look(self) -> None:
        """Count."""
        self._next_at = self._clock.monotonic() + LOOK_SECONDS
        count = await self._broker.count_consumers(self._outbox)
        now = self._clock.monotonic()
        if count is None or count <= self._consumers * self._journal.count_living():
            self._first_at = None
        elif self._first_at is None:
            self._first_at = now
        elif now - self._first_at >= SURE_SECONDS:
            self._last_at = now
            self._journal.note_strangers()
        self._tell()

    def _tell(self) -> None:
        last_at = self._last_at
        has_any = last_at is not None and self._clock.monotonic() - last_at < KNOWN_SECONDS
        if has_any and not self._ledger.has_strangers:
            self._observer.warn(
                "broker",
                f"other machines consume {self._outbox!r} too: what was handed out before, and is not known here, is"
                " sent with possible-duplicate",
            )
        self._ledger.has_strangers = has_any
