"""Memory of what was decided, for messages the broker hands out a second time (spec amqp.md 13).

A connection to the broker may break between the final reply and the acknowledgement; the message then comes back,
flagged *redelivered*. When its outcome is known here it is not sent again: its publications are completed, then it is
acknowledged. A message that is not flagged is always a mail of its own, even with an identical body; so several entries
may have one key (*twins*), and each of them stands for one redelivery.
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
        is_spent: A redelivery was acknowledged in its place; that one has an entry of its own.
        is_listed: A redelivery can be matched with it.
        older: Twin listed before this one.
        newer: Twin listed after this one.
        waiting: Redelivery that came before the outcome was published.
    """

    __slots__ = ("epoch", "is_listed", "is_settled", "is_spent", "key", "newer", "older", "waiting")

    def __init__(self, key: bytes, epoch: int) -> None:
        self.key = key
        self.epoch = epoch
        self.is_settled = False
        self.is_spent = False
        self.is_listed = False
        self.older: LedgerEntry | None = None
        self.newer: LedgerEntry | None = None
        self.waiting: OutboxItem | None = None


class OutcomeLedger:
    """Entries of one process; bounded, the oldest settled one goes first."""

    def __init__(self, now: Callable[[], float], acknowledge: Callable[[OutboxItem], None]) -> None:
        self._now = now
        self._acknowledge = acknowledge
        self._newest: dict[bytes, LedgerEntry] = {}
        self._settled: deque[tuple[float, LedgerEntry]] = deque()
        self._lost: deque[tuple[float, LedgerEntry]] = deque()
        self._awaited: set[LedgerEntry] = set()
        self._epoch = 0
        self.hits = 0

    def __len__(self) -> int:
        """Settled entries still remembered."""
        return len(self._settled) + len(self._lost)

    def matches(self, item: OutboxItem) -> bool:
        """Whether a redelivered item needs no delivery: it is acknowledged now, or once its outcome is published."""
        now = self._now()
        self._drop(now)
        entry = self._newest.get(_key_of(item))
        if entry is None:
            return False
        self.hits += 1
        self._unlist(entry)
        if entry.is_settled:
            entry.is_spent = True
            self._acknowledge(item)
            # This acknowledgement may get lost like the one before: it is remembered in the same way, but not listed
            # while the channel is open, or a twin would be taken for this message.
            self._settled.append((now + SETTLED_SECONDS, _acknowledged(entry.key, self._epoch)))
            self._drop(now)
        else:
            entry.waiting = item
            self._awaited.add(entry)
        return True

    def begin(self, item: OutboxItem) -> LedgerEntry:
        """Remember a message whose handling starts."""
        entry = LedgerEntry(_key_of(item), self._epoch)
        self._list(entry)
        return entry

    def settle(self, entry: LedgerEntry) -> bool:
        """Everything that follows from the outcome is confirmed, and the message acknowledged if it still could be.

        Returns:
            Whether it could be; if not, the broker hands it out again, perhaps to another process.
        """
        entry.is_settled = True
        now = self._now()
        if entry.waiting is not None:
            self._awaited.discard(entry)
            self._acknowledge(entry.waiting)
            entry.waiting = None
            entry.epoch = self._epoch
        if entry.epoch == self._epoch:
            self._settled.append((now + SETTLED_SECONDS, entry))
        else:
            self._lost.append((now + LOST_SECONDS, entry))
        self._drop(now)
        return entry.epoch == self._epoch

    def abandon(self, entry: LedgerEntry) -> list[OutboxItem]:
        """The message was not started after all: its redelivery is a delivery like any other.

        Returns:
            Redeliveries that wait for its outcome: there will be none, they have to be looked at again.
        """
        self._unlist(entry)
        self._awaited.discard(entry)
        waiting, entry.waiting = entry.waiting, None
        return [] if waiting is None else [waiting]

    def channel_lost(self) -> None:
        """Acknowledgements of the last minute may not have arrived: remember their messages for longer."""
        self._epoch += 1
        now = self._now()
        self._drop(now)
        for _, entry in self._settled:
            if not entry.is_spent:
                self._list(entry)
                self._lost.append((now + LOST_SECONDS, entry))
        self._settled.clear()
        for entry in [entry for entry in self._awaited if entry.waiting is not None and not entry.waiting.is_held]:
            self._awaited.discard(entry)
            entry.waiting = None
            self._list(entry)

    def _drop(self, now: float) -> None:
        """Forget what has expired, and the oldest of what is too many: connections were lost before it was settled."""
        lost, settled = self._lost, self._settled
        while lost and (lost[0][0] <= now or len(self) > MAX_ENTRIES):
            self._unlist(lost.popleft()[1])
        while settled and (settled[0][0] <= now or len(self) > MAX_ENTRIES):
            self._unlist(settled.popleft()[1])

    def _list(self, entry: LedgerEntry) -> None:
        if entry.is_listed:
            return
        entry.is_listed = True
        entry.older = self._newest.get(entry.key)
        if entry.older is not None:
            entry.older.newer = entry
        self._newest[entry.key] = entry

    def _unlist(self, entry: LedgerEntry) -> None:
        if not entry.is_listed:
            return
        entry.is_listed = False
        older, newer = entry.older, entry.newer
        entry.older = entry.newer = None
        if older is not None:
            older.newer = newer
        if newer is not None:
            newer.older = older
        elif older is not None:
            self._newest[entry.key] = older
        else:
            del self._newest[entry.key]


def _acknowledged(key: bytes, epoch: int) -> LedgerEntry:
    """Entry of a redelivery that was acknowledged for an outcome published before."""
    entry = LedgerEntry(key, epoch)
    entry.is_settled = True
    return entry


def _key_of(item: OutboxItem) -> bytes:
    digest = hashlib.sha256(item.body)
    if item.properties.message_id:
        digest.update(b"\0" + item.properties.message_id.encode())
    return digest.digest()
