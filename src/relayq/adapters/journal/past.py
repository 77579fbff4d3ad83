"""What other runs noted: those of processes that died, and those of other workers that live.

Files are read as they grow. A run lives as long as its lock is held; the kernel gives the lock up with the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from relayq.adapters.journal import records
from relayq.adapters.journal.segments import LOCK_SUFFIX, SUFFIX
from relayq.ports import Recollection, RecollectionKind

SETTLED_SECONDS = 60.0
"""After this long on an open channel an acknowledgement has certainly been processed (spec amqp.md 13)."""
LOST_SECONDS = 3600.0
"""How long a redelivery may take to come after a connection was lost."""
REPORT = 1 << 63
"""Added to the number of a hand-out: what is published is a report about it."""
_KINDS = {
    records.SENDING: RecollectionKind.SENT,
    records.DECIDED: RecollectionKind.DECIDED,
    records.MOVED: RecollectionKind.MOVED,
}


_PASSING = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EIO))


class PastEntry:
    """One hand-out that another run noted."""

    __slots__ = ("decision", "done_at", "is_certain", "is_lost", "key", "kind", "number", "run")

    def __init__(self, run: Run, number: int, key: bytes) -> None:
        self.run = run
        self.number = number
        self.key = key
        self.kind = 0
        self.decision = b""
        self.done_at: float | None = None
        self.is_lost = False
        self.is_certain = False  # it was not acknowledged


class Run:
    """Everything one process noted.

    Attributes:
        lock: Its lock file.
        is_alive: Its process lives.
        ended_at: When it wrote last, seconds since the epoch.
        positions: How far each of its files was read.
        renamed: Number of the copy that took the place of another's.
        damaged: Files behind whose position nothing can be read.
    """

    def __init__(self, run: bytes, lock: Path) -> None:
        self.id = run
        self.lock = lock
        self.is_alive = True
        self.ended_at = 0.0
        self.entries: dict[int, PastEntry] = {}
        self.twins: set[bytes] = set()
        self.renamed: dict[int, int] = {}
        self.positions: dict[Path, int] = {}
        self.damaged: set[Path] = set()

    def is_relevant(self, entry: PastEntry) -> bool:
        """Whether its message may come again: an acknowledgement that was processed is the end of it."""
        if entry.done_at is None or entry.is_lost:
            return True
        return not self.is_alive and entry.done_at >= self.ended_at - SETTLED_SECONDS

    def lose_channel(self, at: float) -> None:
        """Acknowledgements of the last minute may not have arrived."""
        for entry in self.entries.values():
            if entry.done_at is not None and entry.done_at >= at - SETTLED_SECONDS:
                entry.is_lost = True

    def outdated(self) -> list[PastEntry]:
        """Entries nobody will ask for any more."""
        settled_at, lost_at = self.ended_at - SETTLED_SECONDS, self.ended_at - LOST_SECONDS
        return [
            entry
            for entry in self.entries.values()
            if entry.done_at is not None and entry.done_at < (lost_at if entry.is_lost else settled_at)
        ]


class Past:
    """Index of what other runs noted."""

    def __init__(self, folder: Path, instance: str, own_run: bytes, warn: Callable[[str], None]) -> None:
        """Nothing is read yet.

        Args:
            folder: Of the journal.
            instance: Beginning of the file names of this outbox.
            own_run: Is left out.
            warn: Told about damage.
        """
        self._folder = folder
        self._instance = instance
        self._own = own_run.hex()
        self._warn = warn
        self._runs: dict[bytes, Run] = {}
        self._index: dict[bytes, list[PastEntry]] = {}
        self._replaced: set[tuple[bytes, int]] = set()
        self._twins: set[bytes] = set()
        self._ended: set[bytes] = set()

    def read(self) -> None:
        """Read what is new; raises ``OSError`` when the folder cannot be read."""
        files: dict[str, list[Path]] = {}
        with os.scandir(self._folder) as found:
            for item in found:
                parts = item.name.split(".")
                is_ours = len(parts) == 4 and parts[0] == self._instance and item.name.endswith(SUFFIX)
                if is_ours and parts[1] != self._own:
                    files.setdefault(parts[1], []).append(Path(item.path))
        for name, paths in files.items():
            self._read_run(name, sorted(paths))
        for run in [run for run in self._runs.values() if run.id.hex() not in files]:
            self._drop(run)

    def _read_run(self, name: str, paths: list[Path]) -> None:
        try:
            ident = bytes.fromhex(name)
        except ValueError:
            return
        run = self._runs.get(ident)
        if run is None:
            run = self._runs[ident] = Run(ident, self._folder / f"{self._instance}.{name}{LOCK_SUFFIX}")
        if not run.is_alive:
            return
        # Asked before reading: what a process wrote before it died is then read completely.
        run.is_alive = is_locked(run.lock)
        if not run.is_alive:
            self._ended.add(ident)
        for path in paths:
            if path not in run.damaged:
                with contextlib.suppress(FileNotFoundError):
                    self._read_file(run, path)
        for entry in run.outdated():
            del run.entries[entry.number]
            self._unlist(entry)

    def _read_file(self, run: Run, path: Path) -> None:
        position = run.positions.get(path, 0)
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            run.ended_at = max(run.ended_at, state.st_mtime)
            if state.st_size <= position:
                return
            file.seek(position)
            data = file.read()
        if position == 0:
            if records.read_run(data) != run.id:
                if not run.is_alive and data:
                    run.damaged.add(path)
                    self._warn(f"{path} is no journal of this version: it is not read")
                return
            position, data = records.HEADER_OCTETS, data[records.HEADER_OCTETS :]
        scan = records.Scan(data)
        for record, _ in scan:
            self._take(run, record)
        run.positions[path] = position + scan.position
        left = len(data) - scan.position
        if left and scan.is_damaged:
            run.damaged.add(path)
            self._warn(f"{path} is damaged at octet {position + scan.position}: {left} octets are not read")

    def _take(self, run: Run, record: records.Record) -> None:
        kind = record.kind
        if kind in _KINDS:
            entry = run.entries.get(record.number)
            if entry is None:
                entry = run.entries[record.number] = PastEntry(run, record.number, record.key)
                self._index.setdefault(record.key, []).append(entry)
            if kind >= entry.kind:
                entry.kind = kind
                entry.decision = record.decision or entry.decision
        elif kind in {records.DONE, records.UNACKNOWLEDGED}:
            for number in record.numbers:
                done = run.entries.get(number)
                if done is not None:
                    done.done_at = record.at
                    done.is_lost = done.is_certain = kind == records.UNACKNOWLEDGED
        elif kind == records.TWIN:
            run.twins.add(record.key)
        elif kind == records.LOST:
            run.lose_channel(record.at)
        elif kind == records.REPLACES:
            self._replaced.add((record.run, record.number))
        elif kind == records.RENAMED:
            run.renamed[record.number] = record.numbers[0]

    def find(self, key: bytes, *, is_unique: bool) -> tuple[list[PastEntry], bool]:
        """Hand-outs with this key that may come again, and whether there may be more of them than are known.

        Args:
            key: Of the message.
            is_unique: It has no twins.
        """
        found = [
            entry
            for entry in self._index.get(key, ())
            if (entry.run.id, entry.number) not in self._replaced and entry.run.is_relevant(entry)
        ]
        if len(found) > 1:
            self._twins.add(key)
        is_ambiguous = key in self._twins or any(key in run.twins for run in self._runs.values())
        return found, is_ambiguous or (not is_unique and any(map(self._may_be_over, found)))

    def _may_be_over(self, entry: PastEntry) -> bool:
        """Its acknowledgement may have arrived; then what came again is a twin that another dead run never started."""
        return entry.done_at is not None and not entry.is_certain and bool(self._ended - {entry.run.id})

    def use(self, entry: PastEntry) -> None:
        """It was recalled."""
        self._replaced.add((entry.run.id, entry.number))

    def put_back(self, origin: tuple[bytes, int]) -> None:
        """It was not, after all."""
        self._replaced.discard(origin)

    def dead(self) -> list[Run]:
        """Runs whose process is gone, oldest first."""
        return sorted((run for run in self._runs.values() if not run.is_alive), key=lambda run: run.ended_at)

    def has_relevant(self, run: Run) -> bool:
        """Whether anything it noted may still be asked for."""
        return any(map(run.is_relevant, run.entries.values()))

    def remove(self, run: Run) -> None:
        """Delete the files of a dead run and forget it; may raise ``OSError``."""
        for path in run.positions.keys() | run.damaged | {run.lock}:
            path.unlink(missing_ok=True)
        self._drop(run)

    def _drop(self, run: Run) -> None:
        self._runs.pop(run.id, None)
        for entry in run.entries.values():
            self._unlist(entry)
        self._replaced = {origin for origin in self._replaced if origin[0] != run.id}

    def _unlist(self, entry: PastEntry) -> None:
        twins = self._index[entry.key]
        twins.remove(entry)
        if not twins:
            del self._index[entry.key]


def recollect(entry: PastEntry) -> Recollection:
    """What one noted hand-out means for a redelivery."""
    origin = (entry.run.id, entry.number)
    if entry.done_at is not None:
        return Recollection(kind=RecollectionKind.DONE, origin=origin)
    if entry.run.is_alive:
        return Recollection(kind=RecollectionKind.RUNNING, origin=origin)
    return Recollection(
        kind=_KINDS[entry.kind],
        decision=entry.decision,
        copy_id=_latest_copy(entry.run, entry.number),
        report_id=_latest_copy(entry.run, entry.number | REPORT),
        origin=origin,
    )


def _latest_copy(run: Run, number: int) -> bytes:
    """Identity of what was published last under this number, or in its place."""
    for _ in range(len(run.renamed)):  # not for ever, wherever damaged notes lead
        if number not in run.renamed:
            break
        number = run.renamed[number]
    return copy_identity(run.id, number)


def copy_identity(run: bytes, number: int) -> bytes:
    """Identity of the copy that replaces a hand-out; with :data:`REPORT` of a report about it."""
    return run + number.to_bytes(8, "little")


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock file, or nobody can tell now."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        # Who lives and is taken for dead would have its messages sent a second time.
        return error.errno in _PASSING
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def total_bytes(runs: Iterable[Run]) -> int:
    """Octets read of some runs."""
    return sum(sum(run.positions.values()) for run in runs)
