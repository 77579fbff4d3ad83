"""Groups of changes become transactions; waiting messages become claims. Synchronous, without a thread of its own.

Called by `relayq.adapters.embedded.thread` only. Every write happens inside a turn (`MachineLocks.turn`), and nothing
in memory changes before the commit has succeeded: after an error the same group can simply be tried again.

What other processes do is seen by ``PRAGMA data_version``, a few microseconds that touch no disk, and only while a
consumer has nothing to do. Dead processes are recognised by their kernel lock.
"""

from __future__ import annotations

import contextlib
import math
import os
import zlib
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from relayq.adapters.embedded import database
from relayq.adapters.embedded.locks import MachineLocks
from relayq.adapters.embedded.options import EmbeddedOptions
from relayq.adapters.embedded.tables import ClaimedMessage, NewMessage, QueueDepth, QueueTables
from relayq.ports import Clock, Properties, Publication

MAX_PRIORITY = 255
LEAST_STEP = 1000
"""Milliseconds: what a clock is corrected by less at once changes nothing."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOCK_SLICE = 1.0
"""Seconds of one try to get a lock: in between the thread listens to its own process."""
_GZIP_WINDOW = 31  # zlib: 15 bits of window, gzip framing
_NO_PROPERTIES = Properties()


class Consumer:
    """One consumer as the store sees it.

    Attributes:
        queue: What it consumes.
        accept: Takes what was claimed; called on the event loop.
        prefetch: How many messages it may hold.
        held: How many it holds.
        may_have_ready: Its queue may have messages that are ready; False only when it was seen empty.
        next_due: When its earliest delayed message is due, in milliseconds; ``None`` when there is none.
        outbox: Of a consumer that drains a parking place: where its messages belong; it takes them before they are due.
        on_empty: Called on the event loop when a draining consumer was given the last there was.
    """

    __slots__ = ("accept", "held", "may_have_ready", "next_due", "on_empty", "outbox", "prefetch", "queue")

    def __init__(
        self,
        queue: str,
        prefetch: int,
        accept: Callable[[list[ClaimedMessage]], None],
        outbox: str | None = None,
        on_empty: Callable[[], None] | None = None,
    ) -> None:
        self.outbox = outbox
        self.on_empty = on_empty
        self.queue = queue
        self.accept = accept
        self.prefetch = prefetch
        self.held = 0
        self.may_have_ready = True
        self.next_due: int | None = None

    def set_prefetch(self, prefetch: int) -> None:
        """Change how many it may hold."""
        self.prefetch = prefetch


class Change:
    """Something to be written: publications, and what becomes of the item they follow from.

    Attributes:
        done: Completed after the commit, on its event loop.
        publications: In order.
        item_id: The item to be deleted or given back, ``None`` = there is none.
        consumer: Whose item it was.
        gives_back: The item returns to its queue instead of being deleted.
        was_seen: The item was handed out, so it returns flagged.
        rows: The publications as they are stored, filled in by the store.
        offset: What the wall clock was ahead of the monotonic one then.
    """

    __slots__ = ("consumer", "done", "gives_back", "item_id", "offset", "publications", "rows", "was_seen")

    def __init__(
        self,
        done: Future[None] | None,
        publications: Sequence[Publication] = (),
        *,
        item_id: int | None = None,
        consumer: Consumer | None = None,
        gives_back: bool = False,
        was_seen: bool = True,
    ) -> None:
        self.done = done
        self.publications = publications
        self.item_id = item_id
        self.consumer = consumer
        self.gives_back = gives_back
        self.was_seen = was_seen
        self.rows: list[NewMessage] | None = None
        self.offset = 0


class Claim:
    """Messages a transaction handed to a consumer."""

    __slots__ = ("consumer", "is_last", "messages")

    def __init__(self, consumer: Consumer, messages: list[ClaimedMessage], *, is_last: bool) -> None:
        self.consumer = consumer
        self.messages = messages
        self.is_last = is_last


class Store:
    """The open file, and the consumers of this process."""

    def __init__(self, path: Path, options: EmbeddedOptions, clock: Clock) -> None:
        """Open ``path``; raises what `database.prepare_file` and `database.connect` raise, and `TurnTimeoutError`."""
        self._options = options
        self._clock = clock
        # Resolved, because SQLite names its own files after the target of a link as well.
        self._path = path = path.resolve()
        self._lock_slice = min(LOCK_SLICE, options.timings.lock_patience)
        self._consumers: list[Consumer] = []
        self._owner: int | None = None
        self._encoded: tuple[Properties, bytes | None] = (_NO_PROPERTIES, None)
        database.prepare_file(path)
        self._locks = MachineLocks(Path(f"{path}-locks"), path.stat())
        try:
            with self._locks.turn(self._lock_slice):
                self._connection = database.connect(path, self._lock_slice)
        except BaseException:
            self._locks.close()
            raise
        self._tables = QueueTables(self._connection)
        self._boot = _boot_id()
        self._known_offset: int | None = None
        self._version = self._data_version()

    def reconfigure(self, options: EmbeddedOptions) -> None:
        """Use other settings for publishing from now on."""
        self._options = options

    def close(self) -> None:
        """Close the file."""
        database.close(self._connection, self._locks, self._lock_slice)

    def add_consumer(self, consumer: Consumer) -> None:
        """Start to claim for a consumer."""
        self._consumers.append(consumer)
        self._look_at_next_due(consumer)

    def add_drain(self, consumer: Consumer) -> bool:
        """Start to claim for a consumer that drains a parking place, if there is anything in it."""
        if self._tables.next_due(consumer.queue) is None:
            return False
        self._consumers.append(consumer)
        return True

    def _look_at_next_due(self, consumer: Consumer) -> None:
        if consumer.outbox is None:
            consumer.next_due = self._tables.next_due(consumer.queue)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Claim no more for it; what it holds stays held."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def stop_consuming(self) -> None:
        """Claim nothing more."""
        self._consumers.clear()

    @property
    def has_hungry(self) -> bool:
        """Some consumer has room: what other processes publish matters."""
        return any(consumer.held < consumer.prefetch for consumer in self._consumers)

    @property
    def has_consumers(self) -> bool:
        """Somebody consumes."""
        return bool(self._consumers)

    def seconds_to_work(self) -> float | None:
        """Seconds until a hungry consumer can be given something, as far as is known; ``None`` = nothing is."""
        hungry = [consumer for consumer in self._consumers if consumer.held < consumer.prefetch]
        if any(consumer.may_have_ready for consumer in hungry):
            return 0.0
        dues = [consumer.next_due for consumer in hungry if consumer.next_due is not None]
        return max(min(dues) - self._clock.now().timestamp() * 1000, 0.0) / 1000 if dues else None

    def watch(self) -> None:
        """Look whether other processes have changed anything since the last time."""
        version = self._data_version()
        if version != self._version:
            self._version = version
            for consumer in self._consumers:
                consumer.may_have_ready = True
                self._look_at_next_due(consumer)

    def has_work(self) -> bool:
        """Whether a commit without changes would hand out something, or has to follow the clock."""
        if self._consumers and self._is_clock_set():
            return True
        now = self._now()
        for consumer in self._consumers:
            if consumer.held < consumer.prefetch:
                if consumer.next_due is not None and consumer.next_due <= now:
                    return True
                if consumer.may_have_ready:
                    # A drain has to claim even from an empty place: that is how it learns of its end.
                    consumer.may_have_ready = consumer.outbox is not None or self._tables.has_ready(consumer.queue)
                    if consumer.may_have_ready:
                        return True
        return False

    def encode(self, changes: Sequence[Change]) -> int:
        """Bring publications into the form in which they are stored, once; returns their bytes."""
        total = 0
        for change in changes:
            if change.rows is None:
                change.offset = self._offset()
                change.rows = [self._encode(publication) for publication in change.publications]
            total += sum(len(row.body) for row in change.rows)
        return total

    def commit(self, changes: Sequence[Change]) -> list[Claim]:
        """Write encoded changes, and claim for whoever has room, in one transaction.

        Raises:
            sqlite3.Error: Nothing has changed.
            OSError: As before.
            TurnTimeoutError: Somebody else is writing and does not stop; nothing has changed.
        """
        freed = Counter(change.consumer for change in changes if change.consumer is not None)
        offset = self._offset()
        is_set = self._is_clock_set()
        rows = [row for change in changes for row in self._rows_of(change, offset)]
        had_owner = self._owner is not None
        now = self._now()
        try:
            with self._transaction():
                if is_set:
                    self._follow_clock(offset)
                self._settle(changes)
                if rows:
                    self._tables.insert(rows, now)
                fed = self._fed_queues(changes, rows)
                claims = [
                    claim
                    for consumer in self._consumers
                    if (claim := self._claim(consumer, freed[consumer], now, fed)) is not None
                ]
        except BaseException:
            if not had_owner and self._owner is not None:
                self._locks.unlock(self._owner)
                self._owner = None
            raise
        self._remember(freed, rows, fed, claims, now)
        if is_set:
            self._known_offset = offset
            for consumer in self._consumers:
                self._look_at_next_due(consumer)
        return claims

    def _rows_of(self, change: Change, offset: int) -> list[NewMessage]:
        """What a change publishes; it may have waited while the clock was set back."""
        rows, step = change.rows or [], change.offset - offset
        if step < LEAST_STEP:
            return rows
        return [row if row.due_at is None else row._replace(due_at=row.due_at - step) for row in rows]

    def _offset(self) -> int:
        """What the wall clock is ahead of the monotonic one, in milliseconds: it changes when the clock is set."""
        return self._now() - int(self._clock.monotonic() * 1000)

    def _is_clock_set(self) -> bool:
        return self._known_offset is None or abs(self._offset() - self._known_offset) >= LEAST_STEP

    def _follow_clock(self, offset: int) -> None:
        """Let what waits come after the time that was meant, although the clock was set back.

        So what waits for a date comes too early; whoever gets it looks at the date, and lets it wait again. A clock
        that is set forward needs nothing: what waited for a date is due by it, and a retry may come early. Nobody knows
        what happened to the clock while the machine was off.
        """
        known = self._tables.clock()
        if known is not None and known[0] == self._boot:
            step = known[1] - offset
            if abs(step) < LEAST_STEP:
                return  # another process was faster
            if step > 0:
                self._tables.bring_forward(step)
        self._tables.set_clock(self._boot, offset)

    def probe(self) -> None:
        """Write something harmless: raises what `commit` raises while the storage takes nothing."""
        with self._transaction():
            self._connection.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION}")

    def shrink_log(self) -> None:
        """Give back the space of the write-ahead log as far as it can be emptied."""
        with self._locks.turn(self._lock_slice):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def has_space(self) -> bool:
        """Whether the file system has enough room again to be worth a try."""
        state = os.statvfs(self._path)
        return state.f_bavail * state.f_frsize >= min(8 * 1024 * 1024, state.f_blocks * state.f_frsize // 20)

    def sweep(self) -> int:
        """Take the messages of dead owners back into their queues; returns how many."""
        dead = [owner for owner in self._tables.owners() if owner != self._owner and not self._locks.is_locked(owner)]
        if not dead:
            return 0
        with self._transaction():
            # Asked again inside the turn: an owner's number and its lock appear together, inside a turn.
            count = sum(self._tables.release_owner(owner) for owner in dead if not self._locks.is_locked(owner))
        for consumer in self._consumers:
            consumer.may_have_ready = True
        return count

    def unpark(self) -> None:
        """Bring what was parked for too long back to its outbox, a part of it at a time."""
        now = self._now()
        for consumer in self._consumers:
            names = [] if consumer.outbox is not None else self._tables.overdue_parkings(consumer.queue, now)
            if names:
                with self._transaction():
                    for name in names:
                        self._tables.promote(name, now, into=consumer.queue)
                consumer.may_have_ready = True

    def release_all(self) -> None:
        """Give everything back that this process holds: it stops."""
        if self._owner is not None:
            with self._transaction():
                self._tables.release_owner(self._owner)
            self._locks.unlock(self._owner)
            self._owner = None

    def depths(self) -> dict[str, QueueDepth]:
        """Counts by queue."""
        return self._tables.depths(self._now())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._locks.turn(self._lock_slice), database.transaction(self._connection):
            yield

    def _settle(self, changes: Sequence[Change]) -> None:
        deleted = [change.item_id for change in changes if change.item_id is not None and not change.gives_back]
        self._tables.delete(deleted)
        for was_seen in (True, False):
            given_back = [
                change.item_id
                for change in changes
                if change.item_id is not None and change.gives_back and change.was_seen is was_seen
            ]
            self._tables.release(given_back, redelivered=was_seen)

    @staticmethod
    def _fed_queues(changes: Sequence[Change], rows: Sequence[NewMessage]) -> set[str]:
        fed = {row.queue for row in rows}
        for change in changes:
            if change.gives_back and change.consumer is not None:
                fed.add(change.consumer.outbox or change.consumer.queue)
        return fed

    def _claim(self, consumer: Consumer, freed: int, now: int, fed: set[str]) -> Claim | None:
        room = consumer.prefetch - consumer.held + freed
        if room <= 0:
            return None
        is_due = consumer.next_due is not None and consumer.next_due <= now
        if is_due:
            self._tables.promote(consumer.queue, now)
        if not (is_due or consumer.may_have_ready or consumer.queue in fed):
            return None
        if consumer.outbox is None:
            messages, is_last = self._tables.claim(self._own_number(), consumer.queue, room)
        else:
            messages, is_last = self._tables.claim_parked(self._own_number(), consumer.queue, room, consumer.outbox)
        return Claim(consumer, messages, is_last=is_last)

    def _own_number(self) -> int:
        if self._owner is None:
            self._owner = self._tables.add_owner(os.getpid())
            if not self._locks.try_lock(self._owner):
                raise OSError(f"the lock of owner {self._owner} is taken")
        return self._owner

    def _remember(
        self,
        freed: Counter[Consumer],
        rows: Sequence[NewMessage],
        fed: set[str],
        claims: Sequence[Claim],
        now: int,
    ) -> None:
        """Bring what is known about the consumers up to what has just been committed."""
        for consumer, count in freed.items():
            consumer.held -= count
        for consumer in self._consumers:
            if consumer.queue in fed:
                consumer.may_have_ready = True
        for claim in claims:
            claim.consumer.held += len(claim.messages)
            claim.consumer.may_have_ready = not claim.is_last
        delayed = {row.queue for row in rows if row.due_at is not None and row.due_at > now}
        for consumer in self._consumers:
            is_past = consumer.next_due is not None and consumer.next_due <= now
            if is_past or consumer.queue in delayed:
                self._look_at_next_due(consumer)

    def _encode(self, publication: Publication) -> NewMessage:
        properties, body = publication.properties, publication.body
        priority = min(max(properties.priority or 0, 0), MAX_PRIORITY)
        due_at = None if publication.due_at is None else math.ceil(publication.due_at.timestamp() * 1000)
        queue = publication.queue
        if publication.parking is not None:
            queue = publication.parking.queue(queue)
            due_at = self._now() + publication.parking.seconds * 1000
        encoding = properties.content_encoding if publication.is_verbatim else None
        if self._options.gzip and not publication.is_verbatim:
            packer = zlib.compressobj(wbits=_GZIP_WINDOW)
            body, encoding = packer.compress(body) + packer.flush(), "gzip"
        if encoding != properties.content_encoding:
            properties = msgspec.structs.replace(properties, content_encoding=encoding)
        return NewMessage(queue, MAX_PRIORITY - priority, due_at, self._encode_properties(properties), body)

    def _encode_properties(self, properties: Properties) -> bytes | None:
        if properties == _NO_PROPERTIES:
            return None
        last, encoded = self._encoded
        if last is not properties:
            encoded = msgspec.msgpack.encode(properties)
            self._encoded = (properties, encoded)
        return encoded

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    def _data_version(self) -> int:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version


def decode_properties(encoded: bytes | None) -> Properties:
    """Properties as they were stored; members of a later version are ignored."""
    return _NO_PROPERTIES if encoded is None else msgspec.msgpack.decode(encoded, type=Properties)


def _boot_id() -> str:
    """Names the time since the machine was started: monotonic clocks of different boots cannot be compared."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
