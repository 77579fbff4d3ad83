"""`relayq.ports.OutcomeJournal` in files.

A note is one ``write``: from then on it survives the process. What survives a power cut is decided by the sync mode;
``fdatasync`` runs in a thread of its own, and notes that wait for it share one call (group commit). Notes that nothing
depends on are written together, a moment later.

Files are numbered and used in turn. Per file the entries whose newest note it holds are counted; files before the
oldest with a count are deleted. When all together grow too large, what is still needed of the oldest is written again
at the end, so that one message that takes long does not keep everything behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import errno
import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from relayq.adapters.journal import records
from relayq.adapters.journal.past import REPORT, Past, Run, copy_identity, is_locked, recollect, total_bytes
from relayq.adapters.journal.segments import LOCK_SUFFIX, Segments
from relayq.ports import JournalEntry, JournalError, Recollection, RecollectionKind

LAZY_SECONDS = 0.1
"""How long a note may wait that nothing depends on."""
LAZY_COUNT = 64
"""How many of them may wait."""
READ_SECONDS = 0.05
"""Looks at what others wrote are at least this far apart."""
SYNC_SECONDS = 1.0
RETRY_SECONDS = 5.0
"""After a failed write a new file is tried this often."""
KEEP_SECONDS = 3600.0
"""Notes of dead processes are kept this long: a redelivery may take its time (spec amqp.md 13)."""
CANCELLED_SECONDS = 30 * 86_400.0
"""How long a copy may wait in the outbox; far longer than the life of a message by default."""
CANCELLED_SUFFIX = ".cancelled"
STRANGERS_SUFFIX = ".strangers"
MAX_UNCANCELLED = 100_000
SEGMENTS = 16
MIN_SEGMENT_BYTES = 1 << 14
MAX_SEGMENT_BYTES = 8 << 20

_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EINTR})
"""Troubles that may pass: delivery can begin, and the journal is tried again."""

Report = Callable[[str, str], None]
"""Level (``info``, ``warning``, ``alarm``) and text."""


class SyncMode(enum.Enum):
    """When notes become durable beyond the operating system."""

    ALWAYS = "always"
    SECOND = "second"
    NEVER = "never"


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        folder: Absolute path; exists.
        instance: Names the outbox; processes with the same name read each other's notes.
        sync: When notes become durable.
        max_bytes: Of all files of this process.
        stops: Nothing is sent while nothing can be noted.
    """

    folder: Path
    instance: str
    sync: SyncMode = SyncMode.SECOND
    max_bytes: int = 256 << 20
    stops: bool = False


class FileJournal:
    """Notes of this process, and what others left."""

    def __init__(self, options: JournalOptions, report: Report, now: Callable[[], float] = time.time) -> None:
        """Nothing is opened yet.

        Args:
            options: Settings.
            report: Told what an operator should know.
            now: Seconds since the epoch.
        """
        self._options = options
        self._report = report
        self._now = now
        self._run = os.urandom(records.RUN_OCTETS)
        prefix = f"{options.instance}.{self._run.hex()}"
        self._before_copy = f"{options.folder}/{options.instance}."
        segment_bytes = min(max(options.max_bytes // SEGMENTS, MIN_SEGMENT_BYTES), MAX_SEGMENT_BYTES)
        self._segments = Segments(options.folder, prefix, records.header(self._run), segment_bytes)
        self._past = Past(options.folder, options.instance, self._run, lambda text: report("warning", text))
        self._lock_path = options.folder / f"{prefix}{LOCK_SUFFIX}"
        self._lock_fd = -1
        self._loop: asyncio.AbstractEventLoop
        self._thread: ThreadPoolExecutor | None = None
        self._last_number = 0
        self._entries: dict[int, JournalEntry] = {}
        self._counts: dict[int, int] = {}
        self._done: list[int] = []
        self._is_undone = 0
        self._lost_until = 0.0
        self._read_at = 0.0
        self._lazy_timer: asyncio.TimerHandle | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._syncing: asyncio.Future[None] | None = None
        self._is_dirty = False
        self._broken_until: float | None = None
        self._uncancelled: dict[bytes, None] = {}

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def stops_delivery(self) -> bool:
        """Nothing can be noted now, and the settings say that nothing may be sent then."""
        if self._broken_until is None or not self._options.stops:
            return False
        self._write(b"")  # perhaps it can again
        return self._broken_until is not None

    async def open(self) -> None:
        """Lock our name, read what others left, and begin to write.

        Raises:
            JournalError: The folder cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "journal")
        try:
            await self._loop.run_in_executor(self._thread, self._past.read)
            self._begin()
        except OSError as error:
            if error.errno not in _PASSING:
                await self.close(is_clean=True)
                text = f"the journal in {self._options.folder} cannot be used: {error.strerror}"
                raise JournalError(text) from error
            self._break(error)
        self._remove_dead(only_useless=True)
        self._remove_cancelled()
        if self._past.dead():
            self._expiry_timer = self._loop.call_later(KEEP_SECONDS, self._remove_dead)
        if self._options.sync is not SyncMode.NEVER:
            self._sync_timer = self._loop.call_later(SYNC_SECONDS, self._sync_in_turn)

    def _begin(self) -> None:
        """Show others that we live, then go on with a new file."""
        if self._lock_fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock_fd = os.open(self._lock_path, flags, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        for copy_id in list(self._uncancelled):
            self._write_cancellation(copy_id)
            del self._uncancelled[copy_id]
        self._segments.start_next()

    def _remove_dead(self, *, only_useless: bool = False) -> None:
        """Delete what dead processes left, once nothing of it can be asked for, or there is too much of it.

        For an hour even an empty journal tells something: that somebody died, whose messages come again.
        """
        dead = self._past.dead()
        oldest = self._now() - KEEP_SECONDS
        excess = total_bytes(dead) - self._options.max_bytes
        for run in dead:
            is_excess = excess > 0
            is_useless = run.ended_at < oldest and not self._past.has_relevant(run)
            if is_excess or not only_useless or is_useless:
                excess -= total_bytes((run,))
                self._remove(run, is_excess=is_excess and self._past.has_relevant(run))

    def _remove(self, run: Run, *, is_excess: bool) -> None:
        if is_excess:
            self._report("warning", "the journal is over journal-max-size: notes of an earlier process were deleted")
        try:
            self._past.remove(run)
        except OSError as error:
            self._report("warning", f"old notes in {self._options.folder} cannot be deleted: {error.strerror}")

    async def close(self, *, is_clean: bool) -> None:
        """Make everything durable and close; files that say nothing any more are deleted."""
        for timer in (self._lazy_timer, self._sync_timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()
        self._lazy_timer = self._sync_timer = self._expiry_timer = None
        if self._segments.current:
            self._flush_lazy()
        if self._thread is not None:
            await self._finish_syncing()
            self._thread.shutdown()
            self._thread = None
        self._segments.close()
        is_empty = not self._is_undone and self._now() >= self._lost_until
        with contextlib.suppress(OSError):  # what stays is read by the next process, and says nothing new
            if is_clean and is_empty:
                for number in list(self._segments.sizes):
                    self._segments.remove(number)
                self._lock_path.unlink(missing_ok=True)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def _finish_syncing(self) -> None:
        await self._wait_for_sync()
        if self._options.sync is not SyncMode.NEVER and self._is_dirty:
            self._start_sync()
            await self._wait_for_sync()

    async def _wait_for_sync(self) -> None:
        while self._syncing is not None:
            await asyncio.wait((self._syncing,))

    # --- notes ------------------------------------------------------------------------------------------------------

    def note_sending(self, entry: JournalEntry) -> Awaitable[None] | None:
        """Content is about to be sent; ``None`` when the note is as safe as the settings ask, else wait for that."""
        replaces = self._number(entry)
        self._note(entry, records.sending(entry.number, entry.key) + replaces)
        if self._options.sync is not SyncMode.ALWAYS or self._broken_until is not None:
            return None
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(future)
        if self._syncing is None:
            self._start_sync()
        return future

    def note_decided(self, entry: JournalEntry, decision: bytes) -> None:
        """The outcome is known."""
        replaces = self._number(entry)
        self._note(entry, records.decided(entry.number, entry.key, decision) + replaces)

    def note_moved(self, entry: JournalEntry) -> None:
        """A copy is about to be published to the outbox in its place."""
        replaces = self._number(entry)
        self._note(entry, records.moved(entry.number, entry.key) + replaces)

    def note_done(self, entry: JournalEntry, *, is_acknowledged: bool) -> None:
        """Everything that follows is confirmed; nothing depends on the note but a second result for the same mail."""
        if not entry.number:
            return
        self._is_undone -= 1
        if not is_acknowledged:
            self._write(records.done(self._now(), (entry.number,), is_acknowledged=False))
            self._lost_until = self._now() + KEEP_SECONDS
            return
        self._done.append(entry.number)
        if self._lazy_timer is None:
            self._lazy_timer = self._loop.call_later(LAZY_SECONDS, self._flush_lazy)

    def note_used_up(self, entry: JournalEntry) -> None:
        """What was noted as done, and not acknowledged, was matched with its redelivery; others know at once."""
        if entry.number in self._entries:
            self._write(records.done(self._now(), (entry.number,)))

    def note_twin(self, key: bytes) -> None:
        """A second message with this key is in hand."""
        self._write(records.twin(key))

    def note_lost(self) -> None:
        """Acknowledgements of the last minute may not have arrived."""
        now = self._now()
        self._lost_until = now + KEEP_SECONDS
        self._flush_lazy()
        self._write(records.lost(now))

    def forget(self, entry: JournalEntry) -> None:
        """It will not be handed out again, or was too long ago."""
        if self._entries.pop(entry.number, None) is not None and entry.segment:
            self._counts[entry.segment] -= 1
            if not self._counts[entry.segment] and entry.segment != self._segments.current:
                self._remove_finished()

    def _number(self, entry: JournalEntry) -> bytes:
        """Give the entry a number; what has to follow its first note, lest a crash in between forgets both runs."""
        if entry.number:
            return b""
        self._last_number += 1
        entry.number = self._last_number
        self._is_undone += 1
        recalled = entry.recalled
        if recalled is not None and recalled.origin[0]:
            return records.replaces(*recalled.origin)
        return b""

    def _note(self, entry: JournalEntry, record: bytes) -> None:
        self._write(record)  # may move earlier notes, or drop them
        counts = self._counts
        if entry.segment:
            counts[entry.segment] -= 1
        else:
            self._entries[entry.number] = entry
        segment = entry.segment = self._segments.current
        counts[segment] = counts.get(segment, 0) + 1

    # --- copies in the outbox ---------------------------------------------------------------------------------------

    def copy_id(self, entry: JournalEntry, *, is_report: bool = False) -> bytes:
        """Identity of the copy that replaces this hand-out, or of a report about it that goes to the outbox too."""
        if replaces := self._number(entry):
            self._write(replaces)
        return copy_identity(self._run, entry.number | (REPORT if is_report else 0))

    def cancel_copy(self, copy_id: bytes) -> None:
        """If that copy is in the outbox after all, it is to be dropped; known to every process from the return on."""
        try:
            self._write_cancellation(copy_id)
        except OSError as error:
            self._uncancelled[copy_id] = None
            if len(self._uncancelled) > MAX_UNCANCELLED:
                del self._uncancelled[next(iter(self._uncancelled))]
            self._break(error)

    def _write_cancellation(self, copy_id: bytes) -> None:
        os.close(os.open(self._cancelled(copy_id), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))

    def knows_alone(self, copy_id: bytes) -> bool:
        """Only this process knows that the copy is cancelled: another one may still send it."""
        return copy_id in self._uncancelled

    def replace_copy(self, copy_id: bytes) -> bytes:
        """Cancel a copy of this process that has to be published again; returns the identity for the new one."""
        self._last_number += 1
        self._write(records.renamed(int.from_bytes(copy_id[records.RUN_OCTETS :], "little"), self._last_number))
        self.cancel_copy(copy_id)
        return copy_identity(self._run, self._last_number)

    def is_cancelled(self, copy_id: bytes) -> bool:
        """Whether a copy that was handed out is to be dropped."""
        return copy_id in self._uncancelled or os.access(self._cancelled(copy_id), os.F_OK)

    def _cancelled(self, copy_id: bytes) -> str:
        return f"{self._before_copy}{copy_id.hex()}{CANCELLED_SUFFIX}"

    def _remove_cancelled(self) -> None:
        """Forget cancellations of copies whose messages are certainly over."""
        oldest = self._now() - CANCELLED_SECONDS
        with contextlib.suppress(OSError):  # empty files: the next look may remove them, and they harm nobody
            for path in self._options.folder.glob(f"{self._options.instance}.*{CANCELLED_SUFFIX}"):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    # --- writing ----------------------------------------------------------------------------------------------------

    def _flush_lazy(self) -> None:
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None
        if self._done:
            self._write(b"")

    def _write(self, record: bytes) -> None:
        """Append; what waited for an occasion goes in front when there is much of it, or nothing else."""
        done = self._done
        if done and (not record or len(done) >= LAZY_COUNT):
            record = records.done(self._now(), done) + record
            done.clear()
        try:
            if self._broken_until is not None:
                if self._loop.time() < self._broken_until:
                    return
                self._begin()
                self._broken_until = None
                self._report("info", "the journal can be written again")
            if self._segments.left <= 0:
                self._turn_over()
            if record:
                self._segments.append(record)
                self._is_dirty = True
        except OSError as error:
            self._break(error)

    def _break(self, error: OSError) -> None:
        """Nothing can be written; told once, until it works again."""
        is_new = self._broken_until is None
        self._broken_until = self._loop.time() + RETRY_SECONDS
        self._segments.set_aside()
        if is_new:
            effect = (
                "nothing is sent until it can"
                if self._options.stops
                else "delivery goes on, but after a crash duplicates would not be recognised"
            )
            where = self._options.folder
            self._report("alarm", f"the journal in {where} cannot be written: {error.strerror}; {effect}")

    def _turn_over(self) -> None:
        self._segments.start_next()
        if self._options.sync is SyncMode.NEVER:
            self._segments.release_old()
        self._remove_finished()
        if self._segments.total_bytes > self._options.max_bytes:
            self._compact()

    def _remove_finished(self) -> None:
        """Delete files from the oldest on, as long as nobody needs them."""
        for number in list(self._segments.sizes):
            if number == self._segments.current or self._counts.get(number):
                return
            self._counts.pop(number, None)
            self._segments.remove(number)

    def _compact(self) -> None:
        """Write what is needed of the oldest file again, or give it up when that would not help."""
        oldest = next(iter(self._segments.sizes))
        data = self._segments.path(oldest).read_bytes()
        kept: list[bytes] = []
        size = 0
        entries = [entry for entry in self._entries.values() if entry.segment == oldest]
        wanted = {entry.number for entry in entries}
        for record, raw in records.Scan(data, records.HEADER_OCTETS):
            if record.number in wanted and record.kind in {records.SENDING, records.DECIDED, records.MOVED}:
                kept.append(raw)
                size += len(raw)
        if size > len(data) // 2:
            self._report("warning", f"the journal is over journal-max-size: {len(entries)} notes were dropped")
            for entry in entries:
                del self._entries[entry.number]
                entry.segment = 0
            entries, kept = [], []
        else:
            self._segments.append(b"".join(kept))
        current = self._segments.current
        for entry in entries:
            entry.segment = current
        self._counts[current] = self._counts.get(current, 0) + len(entries)
        self._counts.pop(oldest, None)
        self._segments.remove(oldest)

    # --- durability -------------------------------------------------------------------------------------------------

    def _sync_in_turn(self) -> None:
        self._sync_timer = self._loop.call_later(SYNC_SECONDS, self._sync_in_turn)
        if self._is_dirty and self._syncing is None and self._broken_until is None:
            self._start_sync()

    def _start_sync(self) -> None:
        assert self._thread is not None
        waiting, self._waiting = self._waiting, []
        self._is_dirty = False
        self._syncing = self._loop.run_in_executor(self._thread, self._segments.sync)
        self._syncing.add_done_callback(lambda done: self._synced(done, waiting))

    def _synced(self, done: asyncio.Future[None], waiting: list[asyncio.Future[None]]) -> None:
        self._syncing = None
        error = done.exception()
        if isinstance(error, OSError):
            self._break(error)
        for future in waiting:
            if future.done():
                continue
            if isinstance(error, OSError) and self._options.stops:
                future.set_exception(error)
            else:
                future.set_result(None)
        if self._waiting:
            self._start_sync()

    # --- what others noted ------------------------------------------------------------------------------------------

    def recall(self, key: bytes, *, is_unique: bool) -> Recollection | None:
        """What is known about an earlier hand-out; each one is recalled once, except a ``RUNNING`` one."""
        self._read_others()
        found, is_ambiguous = self._past.find(key, is_unique=is_unique)
        if any(entry.run.is_alive for entry in found):
            self._read_at = 0.0  # what it noted in this moment may be that its message came back already
            self._read_others()
            found, is_ambiguous = self._past.find(key, is_unique=is_unique)
        if not found:
            return None
        entry = next((entry for entry in found if not entry.run.is_alive or entry.done_at is not None), found[0])
        recollection = recollect(entry)
        if is_ambiguous:
            # Twins: which of them this is cannot be told, and a mail must not get lost.
            recollection = msgspec.structs.replace(recollection, kind=RecollectionKind.SENT, decision=b"", copy_id=b"")
            if entry.run.is_alive:
                return msgspec.structs.replace(recollection, origin=(b"", 0))
        if recollection.kind is not RecollectionKind.RUNNING:
            self._past.use(entry)
        return recollection

    def count_living(self) -> int:
        """Processes of this machine that serve the outbox now, this one among them."""
        others = 0
        with contextlib.suppress(OSError):
            for path in self._options.folder.glob(f"{self._options.instance}.*{LOCK_SUFFIX}"):
                others += path != self._lock_path and is_locked(path)
        return others + 1

    def note_strangers(self) -> None:
        """Other machines serve the outbox too."""
        try:
            fd = os.open(self._strangers, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            self._break(error)
            return
        with contextlib.closing(os.fdopen(fd, "wb")), contextlib.suppress(OSError):
            os.utime(fd)

    def strangers_age(self) -> float | None:
        """Seconds since that was noted last, ``None`` for never."""
        try:
            noted_at = os.stat(self._strangers).st_mtime
        except OSError:
            return None
        return max(self._now() - noted_at, 0.0)

    @property
    def _strangers(self) -> str:
        return f"{self._options.folder}/{self._options.instance}{STRANGERS_SUFFIX}"

    def has_dead(self) -> bool:
        """Whether a process that served this outbox died in the last hour."""
        self._read_others()
        oldest = self._now() - KEEP_SECONDS
        return any(run.ended_at > oldest for run in self._past.dead())

    def put_back(self, recollection: Recollection) -> None:
        """The message was not started after all: let the next redelivery recall the same."""
        self._past.put_back(recollection.origin)

    def _read_others(self) -> None:
        now = self._loop.time()
        if now < self._read_at:
            return
        self._read_at = now + READ_SECONDS
        try:
            self._past.read()
        except OSError as error:
            self._report("warning", f"the journal in {self._options.folder} cannot be read: {error.strerror}")
