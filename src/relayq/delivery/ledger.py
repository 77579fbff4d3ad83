"""Memory of what was decided, for messages the broker hands out a second time (spec amqp.md 13).

A connection to the broker may break between the final reply and the acknowledgement; the message then comes back,
flagged *redelivered*. When its outcome is known here it is not sent again: its publications are completed, then it is
acknowledged. A message that is not flagged is always a mail of its own, even with an identical body.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from relayq.ports import OutboxItem

MAX_ENTRIES = 100_000
SETTLED_SECONDS = 60.0
"""After this long on an open channel an acknowledgement has certainly been processed."""
LOST_SECONDS = 3600.0
"""How long a redelivery may take to come after the connection was lost."""


class LedgerEntry:
    """One message under way, or decided and published.

    Attributes:
        key: Digest of body and message-id.
        epoch: Consumer connections lost before the message was handed out.
        is_settled: Everything that follows from the outcome is confirmed.
        is_consumed: A redelivery was matched with it.
        waiting: Redeliveries that came before the outcome was published.
    """

    __slots__ = ("epoch", "is_consumed", "is_settled", "key", "twin", "waiting")

    def __init__(self, key: bytes, epoch: int, twin: LedgerEntry | None) -> None:
        self.key = key
        self.epoch = epoch
        self.twin = twin
        self.is_settled = False
        self.is_consumed = False
        self.waiting: list[OutboxItem] = []


class OutcomeLedger:
    """Entries of one process; bounded, the oldest settled one goes first."""

    def __init__(self, now: Callable[[], float], acknowledge: Callable[[OutboxItem], None]) -> None:
        self._now = now
        self._acknowledge = acknowledge
        self._entries: dict[bytes, LedgerEntry] = {}
        self._settled: deque[tuple[float, LedgerEntry]] = deque()
        self._lost: deque[tuple[float, LedgerEntry]] = deque()
        self._epoch = 0
        self.hits = 0

    def __len__(self) -> int:
        """Settled entries still remembered."""
        return len(self._settled) + len(self._lost)

    def matches(self, item: OutboxItem) -> bool:
        """Whether a redelivered item needs no delivery: it is acknowledged now, or once its outcome is published."""
        entry = self._entries.get(self._key(item))
        while entry is not None and entry.is_consumed:
            entry = entry.twin
        if entry is None:
            return False
        self.hits += 1
        entry.is_consumed = True
        if entry.is_settled:
            self._forget(entry)
            self._acknowledge(item)
        else:
            entry.waiting.append(item)
        return True

    def begin(self, item: OutboxItem) -> LedgerEntry:
        """Remember a message whose handling starts."""
        key = self._key(item)
        entry = LedgerEntry(key, self._epoch, self._entries.get(key))
        self._entries[key] = entry
        return entry

    def settle(self, entry: LedgerEntry) -> None:
        """Everything that follows from the outcome is confirmed, and the message acknowledged if it still could be."""
        entry.is_settled = True
        if entry.waiting:
            for item in entry.waiting:
                self._acknowledge(item)
            entry.waiting = []
            self._forget(entry)
            return
        now = self._now()
        if entry.epoch == self._epoch:
            self._settled.append((now + SETTLED_SECONDS, entry))
        else:
            self._lost.append((now + LOST_SECONDS, entry))
        while self._settled and (self._settled[0][0] <= now or len(self) > MAX_ENTRIES):
            self._forget(self._settled.popleft()[1])
        while self._lost and (self._lost[0][0] <= now or len(self) > MAX_ENTRIES):
            self._forget(self._lost.popleft()[1])

    def abandon(self, entry: LedgerEntry) -> list[OutboxItem]:
        """The message was not started after all: its redelivery is a delivery like any other.

        Returns:
            Redeliveries that wait for its outcome: there will be none, they have to be looked at again.
        """
        self._forget(entry)
        waiting, entry.waiting = entry.waiting, []
        return waiting

    def channel_lost(self) -> None:
        """Acknowledgements of the last minute may not have arrived: remember their messages for longer."""
        self._epoch += 1
        now = self._now()
        while self._settled:
            expires_at, entry = self._settled.popleft()
            if expires_at > now:
                self._lost.append((now + LOST_SECONDS, entry))
            else:
                self._forget(entry)

    def _forget(self, entry: LedgerEntry) -> None:
        entry.is_consumed = True
        first = self._entries.get(entry.key)
        if first is entry:
            if entry.twin is None:
                del self._entries[entry.key]
            else:
                self._entries[entry.key] = entry.twin
            return
        while first is not None and first.twin is not entry:
            first = first.twin
        if first is not None:
            first.twin = entry.twin

    @staticmethod
    def _key(item: OutboxItem) -> bytes:
        digest = hashlib.sha256(item.body)
        if item.properties.message_id:
            digest.update(b"\0" + item.properties.message_id.encode())
        return digest.digest()
