"""Memory of what was decided, for messages the broker hands out a second time (spec amqp.md 13).

A connection to the broker may break between the final reply and the acknowledgement; the message then comes back,
flagged *redelivered*. When its outcome is known here it is not sent again: its publications are completed, then it is
acknowledged. A message that is not flagged is always a mail of its own, even with an identical body; so several entries
may have one key (*twins*), and each of them stands for one redelivery.

What must not happen is that a twin that nobody sent is taken for one that was. So what was handed out on a channel that
is still open matches nothing: it cannot come again. Hand-outs that ended before they were started are counted: as many
redeliveries are mails, here or in another process that asks. And a message without an id that was acknowledged right
before its channel was lost matches only when no other process can have had a twin of it: else it is sent, with a mark.

What outlives the process is in the journal, when there is one.
"""

from __future__ import annotations

import enum
import hashlib
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from relayq.ports import JournalEntry, Origin, OutboxItem, OutcomeJournal, Recollection, RecollectionKind

MAX_ENTRIES = 100_000
SETTLED_SECONDS = 60.0
"""After this long on an open channel an acknowledgement has certainly been processed."""
LOST_SECONDS = 3600.0
"""How long a redelivery may take to come after the connection was lost."""


class Knowledge(enum.IntEnum):
    """What other processes know about a message that was handed out before; the more it decides, the greater."""

    UNKNOWN = 0
    """Nothing."""
    PERHAPS = 1
    """An equal message was acknowledged before a channel was lost: this one, or a twin of it."""
    TWIN = 2
    """An equal message is in hand."""
    DOUBT = 3
    """Both."""
    OWED = 4
    """An equal message was handed out and not started: it is a mail."""
    WAIT = 5
    """It is under way: another answer follows."""
    KNOWN = 6
    """Its outcome is published."""


class LedgerEntry(JournalEntry, eq=False, kw_only=True):
    """One message under way, or decided and published.

    Attributes:
        origin: What handed the message out, or the redelivery that was acknowledged in its place.
        is_settled: Everything that follows from the outcome is confirmed.
        is_used_up: A redelivery was matched with it, and the next with this key is another message.
        is_doubled: A copy of it may be sent too, because its cancellation could not be written.
        chain: List in which a redelivery can be matched with it, ``None`` when it cannot.
        older: Twin listed before this one.
        newer: Twin listed after this one.
        waiting: Redelivery that came before the outcome was published.
        askers: Told about the outcome, or that there will be none, for redeliveries to other processes.
    """

    origin: Origin
    is_settled: bool = False
    is_used_up: bool = False
    is_doubled: bool = False
    chain: dict[bytes, LedgerEntry] | None = None
    older: LedgerEntry | None = None
    newer: LedgerEntry | None = None
    waiting: OutboxItem | None = None
    askers: list[Callable[[bool], None]] | None = None

    @property
    def is_doubtful(self) -> bool:
        """An earlier hand-out of the message may have reached the recipient's server, or a copy of it may."""
        return self.is_doubled or (self.recalled is not None and self.recalled.kind is RecollectionKind.SENT)

    def doubt(self) -> None:
        """This hand-out has reached it, but its outcome cannot be published."""
        self.recalled = msgspec.structs.replace(
            self.recalled or Recollection(kind=RecollectionKind.SENT), kind=RecollectionKind.SENT
        )


class OutcomeLedger:
    """Entries of one process; bounded, the oldest settled one goes first."""

    def __init__(
        self,
        now: Callable[[], float],
        acknowledge: Callable[[OutboxItem], None],
        journal: OutcomeJournal | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        """Nothing is remembered yet.

        Args:
            now: Monotonic seconds.
            acknowledge: Settles a redelivery in place of the message it repeats.
            journal: What outlives the process, ``None`` for nothing.
            is_shared: Other processes consume the same outbox, so what is counted here is not everything.

        Attributes:
            has_strangers: Some of them cannot be asked: they are other machines.
            hits: Redeliveries that were recognised.
        """
        self.has_strangers = False
        self._is_shared = is_shared
        self._now = now
        self._acknowledge = acknowledge
        self._journal = journal
        self._current: dict[bytes, LedgerEntry] = {}
        self._certain: dict[bytes, LedgerEntry] = {}
        self._perhaps: dict[bytes, LedgerEntry] = {}
        self._settled: deque[tuple[float, LedgerEntry]] = deque()
        self._lost: deque[tuple[float, LedgerEntry]] = deque()
        self._awaited: set[LedgerEntry] = set()
        self._recent: dict[bytes, int] = {}
        self._copies: dict[bytes, None] = {}
        self._twins: dict[bytes, None] = {}
        self._owed: Counter[bytes] = Counter()
        self._owed_until: deque[tuple[float, bytes]] = deque()
        self._digested: tuple[OutboxItem, bytes] | None = None
        self.hits = 0

    def __len__(self) -> int:
        """Settled entries still remembered."""
        return len(self._settled) + len(self._lost)

    def digest(self, item: OutboxItem) -> bool:
        """Work out the key of a large item, which is looked at next; whether that was still to be done.

        It takes 6 ms for 10 MB, which is enough for one turn of the event loop.
        """
        if self._digested is not None and self._digested[0] is item:
            return False
        self._digested = (item, key_of(item))
        return True

    def _key(self, item: OutboxItem) -> bytes:
        known = self._digested
        return known[1] if known is not None and known[0] is item else key_of(item)

    def matches(self, item: OutboxItem) -> bool:
        """Whether a redelivered item needs no delivery: it is acknowledged now, or once its outcome is published."""
        self._drop(self._now())
        key = self._key(item)
        # What is under way, or was not acknowledged, is certain to come back; what was acknowledged only perhaps.
        entry = self._certain.get(key)
        if entry is None and (is_unique(item) or not (self._is_shared or self.has_strangers)):
            entry = self._perhaps_sent(key)
        return entry is not None and self._match(item, entry)

    def matches_after_all(self, item: OutboxItem, asked: Knowledge) -> bool:
        """The same, when the others were asked and did not know it for certain."""
        if is_unique(item) or asked not in {Knowledge.UNKNOWN, Knowledge.PERHAPS} or self._may_be_a_twin():
            return False
        entry = self._perhaps_sent(self._key(item))
        if entry is not None:
            return self._match(item, entry)
        if asked is Knowledge.PERHAPS:
            self.acknowledge(item)
        return asked is Knowledge.PERHAPS

    def _may_be_a_twin(self) -> bool:
        """Whether messages come again that a process had and did not start, and that nobody can tell of."""
        return self.has_strangers or (self._journal is not None and self._journal.has_dead())

    def _match(self, item: OutboxItem, entry: LedgerEntry) -> bool:
        self.hits += 1
        self._digested = None
        self._unlist(entry)
        if not is_unique(item):
            self._use_up(entry)
        if entry.is_settled:
            self.acknowledge(item)
        else:
            entry.waiting = item
            self._awaited.add(entry)
        return True

    def acknowledge(self, item: OutboxItem) -> None:
        """Settle a redelivery whose outcome is published, here or by another process.

        This acknowledgement may get lost like the one before: it is remembered in the same way. If the broker has taken
        the item back meanwhile there is none, and the message certainly comes again.
        """
        now = self._now()
        entry = LedgerEntry(key_of(item), origin=item.origin)
        if item.is_held:
            self._acknowledge(item)
            self._remember(now, entry)
        else:
            entry.is_settled = True
            self._list(entry, self._certain)
            self._lost.append((now + LOST_SECONDS, entry))
        self._drop(now)

    def pays(self, item: OutboxItem) -> bool:
        """Whether a redelivery is one of those that are mails because they were not started."""
        return self._pay(self._key(item))

    def _pay(self, key: bytes) -> bool:
        self._drop(self._now())
        if not self._owed or self._owed[key] <= 0:
            return False
        self._owed[key] -= 1
        return True

    def answer(self, key: bytes, asker: Callable[[bool], None], *, is_unique: bool, is_owed: bool = False) -> Knowledge:
        """Match a redelivery to another process.

        Args:
            key: Of the message.
            asker: Told later whether its outcome is published; only after ``WAIT``.
            is_unique: The producer gave the message an id. Without one, a message of ours that the broker has not
                taken back, as far as we know, is more likely a twin: better two copies of one mail than one of two.
                With one it is this very message, also when it is asked about again because it was lost once more.
            is_owed: Whoever asks had it before and did not start it.
        """
        if not (is_unique or is_owed) and self._pay(key):
            return Knowledge.OWED
        self._drop(self._now())
        entry, knowledge = self._certain.get(key), Knowledge.KNOWN
        if entry is None and is_unique:
            entry = self._perhaps_sent(key) or self._current.get(key)
        elif entry is None and not is_owed:
            entry, knowledge = self._perhaps_sent(key), Knowledge.PERHAPS
        if entry is None:
            is_twin = not is_unique and (key in self._current or key in self._twins)
            return Knowledge.TWIN if is_twin else Knowledge.UNKNOWN
        self.hits += 1
        if not is_unique:
            self._unlist(entry)
            self._use_up(entry)
        if entry.is_settled:
            return knowledge
        if entry.askers is None:
            entry.askers = [asker]
        else:
            entry.askers.append(asker)
        return Knowledge.WAIT

    def _use_up(self, entry: LedgerEntry) -> None:
        """A redelivery took its place: no other process may take a twin, which it has not started, for it as well."""
        entry.is_used_up = True
        if entry.is_settled and self._journal is not None:
            self._journal.note_used_up(entry)

    def _perhaps_sent(self, key: bytes) -> LedgerEntry | None:
        """The message that was acknowledged before a channel was lost, unless it may as well be a twin of it."""
        return None if key in self._twins else self._perhaps.get(key)

    def recall(self, item: OutboxItem, asked: Knowledge = Knowledge.UNKNOWN) -> Recollection | None:
        """What is known of a redelivered item that nothing here matches; ``asked`` is what the others know."""
        key, is_owed = self._key(item), asked is Knowledge.OWED
        if key in self._twins or self._is_doubtful(key, asked, is_unique=is_unique(item)):
            # Some went to other processes, whose channels were lost too: which one this is cannot be told.
            return Recollection(kind=RecollectionKind.SENT)
        recalled = None if self._journal is None else self._journal.recall(key, is_unique=is_unique(item))
        if recalled is None:
            # What another machine had of it nobody here can know.
            return Recollection(kind=RecollectionKind.SENT) if self.has_strangers and not is_owed else None
        if is_owed and not is_unique(item):
            # Notes about a twin are no reason not to send it.
            if recalled.kind is RecollectionKind.RUNNING:
                return None
            return msgspec.structs.replace(recalled, kind=RecollectionKind.SENT, decision=b"", copy_id=b"")
        return recalled

    def _is_doubtful(self, key: bytes, asked: Knowledge, *, is_unique: bool) -> bool:
        if is_unique or asked is Knowledge.OWED:
            return False
        return asked in {Knowledge.PERHAPS, Knowledge.DOUBT} or key in self._perhaps

    def put_back(self, recollection: Recollection) -> None:
        """Nothing was made of what was recalled."""
        if self._journal is not None:
            self._journal.put_back(recollection)

    def owe(self, item: OutboxItem) -> None:
        """An item went back before it was started: its redelivery is a mail, whatever became of its twins."""
        key = self._key(item)
        self._owed[key] += 1
        self._owed_until.append((self._now() + LOST_SECONDS, key))
        if len(self._owed_until) > MAX_ENTRIES:
            self._forgive()

    def _forgive(self) -> None:
        _, key = self._owed_until.popleft()
        self._owed[key] -= 1
        if self._owed[key] <= 0:
            del self._owed[key]

    def begin(
        self, item: OutboxItem, recalled: Recollection | None = None, *, is_cancelled: bool = False
    ) -> LedgerEntry:
        """Remember a message whose handling starts.

        Args:
            item: The message.
            recalled: What the journal knows of it.
            is_cancelled: It is a copy that is only dropped: the message it stands for must not be taken for dealt with.
        """
        entry = LedgerEntry(self._key(item), recalled=recalled, origin=item.origin)
        self._digested = None
        if (self._journal is not None or self._is_shared) and self._knows(entry.key):
            self._note_twin(entry.key)
        self._list(entry, self._current)
        if item.properties.copy_id and not is_cancelled:
            self._copies[item.properties.copy_id] = None
            if len(self._copies) > MAX_ENTRIES:
                del self._copies[next(iter(self._copies))]
        return entry

    def _note_twin(self, key: bytes) -> None:
        if self._journal is not None:
            self._journal.note_twin(key)
        if self._is_shared:
            self._twins[key] = None
            if len(self._twins) > MAX_ENTRIES:
                del self._twins[next(iter(self._twins))]

    def _knows(self, key: bytes) -> bool:
        return key in self._current or key in self._certain or key in self._perhaps or key in self._recent

    def is_cancelled(self, item: OutboxItem) -> bool:
        """Whether it is a copy of which another one is under way, or a message whose copy is."""
        copy_id = item.properties.copy_id
        return bool(copy_id) and self._journal is not None and self._journal.is_cancelled(copy_id)

    def supersede(self, entry: LedgerEntry, copy_id: bytes) -> bool:
        """Let a redelivered message take the place of the copy that was, perhaps, published in its place.

        Returns:
            Whether it may: not if the copy was handed out here already, then that one goes on.
        """
        if copy_id in self._copies:
            return False
        if self._journal is not None:
            self._journal.cancel_copy(copy_id)
            entry.is_doubled = self._journal.knows_alone(copy_id)
        return True

    def may_be_doubled(self, copy_id: bytes) -> bool:
        """Whether a copy that was replaced may be sent by another process all the same."""
        return self._journal is not None and self._journal.knows_alone(copy_id)

    def replace_copy(self, copy_id: bytes) -> bytes | None:
        """Identity for a copy that is published again; ``None`` if the first one arrived."""
        if copy_id in self._copies or self._journal is None:
            return None
        return self._journal.replace_copy(copy_id)

    def settle(self, entry: LedgerEntry) -> bool:
        """Everything that follows from the outcome is confirmed, and the message acknowledged if it still could be.

        Returns:
            Whether it could be; if not, the broker hands it out again, perhaps to another process.
        """
        entry.is_settled = True
        now = self._now()
        self._tell(entry, is_known=True)
        if entry.waiting is not None:
            self._awaited.discard(entry)
            self._acknowledge(entry.waiting)
            entry.origin = entry.waiting.origin
            entry.waiting = None
        is_acknowledged = not entry.origin.is_lost
        if self._journal is not None:
            self._journal.note_done(entry, is_acknowledged=is_acknowledged or entry.is_used_up)
        if is_acknowledged:
            self._unlist(entry)
            self._remember(now, entry)
        else:
            self._lost.append((now + LOST_SECONDS, entry))
        self._drop(now)
        return is_acknowledged

    def _remember(self, now: float, entry: LedgerEntry) -> None:
        """Keep what was acknowledged on a channel that is open: if that gets lost, so may the acknowledgement be."""
        entry.is_settled = True
        self._settled.append((now + SETTLED_SECONDS, entry))
        self._recent[entry.key] = self._recent.get(entry.key, 0) + 1

    def abandon(self, entry: LedgerEntry) -> list[OutboxItem]:
        """The message was not started after all: its redelivery is a delivery like any other.

        Returns:
            Redeliveries that wait for its outcome: there will be none, they have to be looked at again.
        """
        self._unlist(entry)
        self._tell(entry, is_known=False)
        self._awaited.discard(entry)
        if self._journal is not None and entry.recalled is not None and not entry.number:
            self._journal.put_back(entry.recalled)
        waiting, entry.waiting = entry.waiting, None
        return [] if waiting is None else [waiting]

    def channel_lost(self) -> None:
        """Acknowledgements of the last minute may not have arrived: remember their messages for longer.

        Those of other channels have, or will: what was handed out there cannot come again, only a twin of it can.
        """
        now = self._now()
        self._drop(now)
        if self._journal is not None:
            self._journal.note_lost()
        for entry in [entry for newest in self._current.values() for entry in _oldest_first(newest)]:
            if entry.origin.is_lost:
                self._unlist(entry)
                self._list(entry, self._certain)
        settled, self._settled = self._settled, deque()
        for until, entry in settled:
            if entry.origin.is_lost:
                self._forget_recent(entry)
                self._list(entry, self._perhaps)
                self._lost.append((now + LOST_SECONDS, entry))
            else:
                self._settled.append((until, entry))
        for entry in [entry for entry in self._awaited if entry.waiting is not None and not entry.waiting.is_held]:
            self._awaited.discard(entry)
            entry.waiting = None
            entry.is_used_up = False
            self._list(entry, self._certain)

    @staticmethod
    def _tell(entry: LedgerEntry, *, is_known: bool) -> None:
        askers, entry.askers = entry.askers, None
        for asker in askers or ():
            asker(is_known)

    def _drop(self, now: float) -> None:
        """Forget what has expired, and the oldest of what is too many: connections were lost before it was settled."""
        lost, settled = self._lost, self._settled
        while lost and (lost[0][0] <= now or len(self) > MAX_ENTRIES):
            self._forget(lost.popleft()[1])
        while settled and (settled[0][0] <= now or len(self) > MAX_ENTRIES):
            entry = settled.popleft()[1]
            self._forget_recent(entry)
            self._forget(entry)
        while self._owed_until and self._owed_until[0][0] <= now:
            self._forgive()

    def _forget_recent(self, entry: LedgerEntry) -> None:
        self._recent[entry.key] -= 1
        if not self._recent[entry.key]:
            del self._recent[entry.key]

    def _forget(self, entry: LedgerEntry) -> None:
        self._unlist(entry)
        if self._journal is not None:
            self._journal.forget(entry)

    def _list(self, entry: LedgerEntry, chain: dict[bytes, LedgerEntry]) -> None:
        """Put an entry in front of its twins; ``chain`` leads from a key to the newest of them."""
        if entry.chain is not None:
            return
        entry.chain = chain
        entry.older = chain.get(entry.key)
        if entry.older is not None:
            entry.older.newer = entry
        chain[entry.key] = entry

    def _unlist(self, entry: LedgerEntry) -> None:
        chain, entry.chain = entry.chain, None
        if chain is None:
            return
        older, newer = entry.older, entry.newer
        entry.older = entry.newer = None
        if older is not None:
            older.newer = newer
        if newer is not None:
            newer.older = older
        elif older is not None:
            chain[entry.key] = older
        else:
            del chain[entry.key]


def _oldest_first(newest: LedgerEntry) -> list[LedgerEntry]:
    """An entry and its older twins."""
    twins: list[LedgerEntry] = []
    entry: LedgerEntry | None = newest
    while entry is not None:
        twins.append(entry)
        entry = entry.older
    return twins[::-1]


def is_unique(item: OutboxItem) -> bool:
    """Whether no other message has its key."""
    return bool(item.properties.message_id or item.identity)


def key_of(item: OutboxItem) -> bytes:
    """What a message and its redelivery have in common."""
    digest = hashlib.sha256(item.body)
    if item.properties.message_id:
        digest.update(b"\0" + item.properties.message_id.encode())
    if item.identity:
        digest.update(b"\1" + item.identity)
    return digest.digest()
