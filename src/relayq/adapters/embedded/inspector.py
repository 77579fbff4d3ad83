"""Looking at the queues in the embedded broker's file, beside whatever runs on it.

Reads see one state of the file and keep nobody from writing; only deleting takes the turn to write, again and again for
a bounded number of messages. A file that is not there is not made: there are no messages then.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from relayq.adapters.embedded import database
from relayq.adapters.embedded.location import find_file
from relayq.adapters.embedded.locks import MachineLocks, TurnTimeoutError
from relayq.adapters.embedded.store import decode_properties
from relayq.model import InvalidAddressError, parse_address
from relayq.model.body import UndecodableBodyError, decode_body
from relayq.ports import BrokerUnavailableError, Clock, DomainState, QueueState

PURGE_CHUNK: Final = 500
"""Messages deleted by one transaction: others have to wait for their turn that long."""
PURGE_PAUSE: Final = 0.002
"""Seconds between two of them, in which others get their turn."""
FETCH: Final = 100
"""Messages read at once."""
MAX_BODY_OCTETS: Final = 256 * 1024 * 1024
MAX_DOMAINS: Final = 200_000
"""Domains counted apart; messages for further ones are counted together, so that memory has a bound."""
NO_JSON: Final = "(no JSON object)"
NO_RECIPIENT: Final = "(no recipient)"
FURTHER_DOMAINS: Final = "(further domains)"

_STATES: Final = (
    (0, "SELECT queue, count(*), min(id), max(id) FROM ready GROUP BY queue", False),
    (0, "SELECT queue, count(*), min(id), max(id) FROM delayed WHERE due_at <= ? GROUP BY queue", True),
    (1, "SELECT queue, count(*), min(id), max(id) FROM delayed WHERE due_at > ? GROUP BY queue", True),
    (2, "SELECT queue, count(*), min(id), max(id) FROM claimed GROUP BY queue", False),
)
_MESSAGES: Final = (
    (0, "SELECT published_at, properties, body FROM ready JOIN message USING (id) WHERE queue = ?"),
    (1, "SELECT published_at, properties, body, due_at <= ?2 FROM delayed JOIN message USING (id) WHERE queue = ?1"),
    (2, "SELECT published_at, properties, body FROM claimed JOIN message USING (id) WHERE queue = ?"),
)

T = TypeVar("T")


class _Recipient(msgspec.Struct, frozen=True):
    """The one member of a message that is looked at."""

    recipient: object = None


_decode_recipient = msgspec.json.Decoder(_Recipient).decode


class EmbeddedInspector:
    """`relayq.ports.QueueInspector` on the embedded broker's file."""

    def __init__(self, path: str | None, clock: Clock, time_limit: float) -> None:
        """Nothing is opened yet.

        Args:
            path: Absolute path of the file, ``None`` = the usual place.
            clock: What is due, and how old things are.
            time_limit: Seconds to wait for others that write.
        """
        self._given_path = path
        self._clock = clock
        self._limit = time_limit
        self._path: Path | None = None
        self._file: _File | None = None
        self._is_cancelled = False
        self._is_closed = False
        # One thread: a connection must not be closed while another thread is inside it.
        self._thread = ThreadPoolExecutor(1, "embedded-inspector")

    @property
    def broker(self) -> str:
        """Kind and place."""
        return f"embedded broker in {self._path or self._given_path}"

    async def open(self) -> None:
        """Open the file if there is one; see `relayq.ports.QueueInspector.open`."""
        self._path = find_file(self._given_path)
        await self._run(lambda _: None)

    async def look(self, names: Sequence[str]) -> tuple[QueueState, ...]:
        """The named queues, then all others."""
        now = self._clock.now()
        found = await self._run(lambda file: file.states(now)) or {}
        named = [found.get(name) or QueueState(name=name, delayed=0, unsettled=0) for name in names]
        return (*named, *(state for name, state in found.items() if name not in names))

    async def look_into(self, name: str, ages: Sequence[float]) -> tuple[DomainState, ...] | None:
        """Every message of a queue is read once."""
        now = self._clock.now()
        return await self._run(lambda file: file.domains(name, ages, now)) or ()

    async def purge(self, name: str, *, delayed: bool = False) -> int:
        """Delete in small transactions; a cancelled purge has deleted some."""
        now = self._clock.now()
        return await self._run(lambda file: file.purge(name, now, delayed=delayed)) or 0

    async def close(self) -> None:
        """Close the file, once nothing works on it any more."""

        def close_file() -> None:
            if self._file is not None:
                self._file.close()
                self._file = None

        if not self._is_closed:
            self._is_closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, close_file)
            self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[_File], T]) -> T | None:
        """Let ``work`` run in a thread, ``None`` when there is no file. Once cancelled, only `close` is left."""
        assert self._path is not None
        path = self._path

        def open_and_work() -> T | None:
            if self._file is None:
                if not path.exists():
                    return None
                self._file = _File(path, self._limit)
            if self._is_cancelled:
                self._file.interrupt()
            return work(self._file)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, open_and_work)
        except asyncio.CancelledError:
            self._is_cancelled = True
            if self._file is not None:
                self._file.interrupt()
            raise
        except (sqlite3.Error, OSError, TurnTimeoutError) as error:
            raise BrokerUnavailableError(f"embedded broker: {error}") from error


class _File:
    """The open file; used by one thread at a time."""

    def __init__(self, path: Path, patience: float) -> None:
        database.check_file(path)
        self._patience = patience
        self._is_interrupted = False
        self._locks = MachineLocks(Path(f"{path.resolve()}-locks"), path.stat())
        try:
            with self._locks.turn(patience):
                self._connection = database.connect(path, patience, any_thread=True)
        except BaseException:
            self._locks.close()
            raise

    def interrupt(self) -> None:
        """End what runs in another thread."""
        self._is_interrupted = True
        self._connection.interrupt()

    def close(self) -> None:
        """Let go of everything."""
        database.close(self._connection, self._locks, self._patience)

    def states(self, now: datetime) -> dict[str, QueueState]:
        """All queues that hold messages, by name."""
        found: dict[str, _Counted] = defaultdict(_Counted)
        with self._reading():
            for column, statement, needs_time in _STATES:
                parameters = (_milliseconds(now),) if needs_time else ()
                for queue, count, first, last in self._connection.execute(statement, parameters):
                    found[queue].add(column, count, first, last)
            return {name: self._state(name, found[name]) for name in sorted(found)}

    def _state(self, name: str, counted: _Counted) -> QueueState:
        ready, delayed, unsettled = counted.counts
        return QueueState(
            name=name,
            ready=ready,
            delayed=delayed,
            unsettled=unsettled,
            oldest_at=self._published_at(counted.first),
            newest_at=self._published_at(counted.last),
        )

    def _published_at(self, number: int) -> datetime | None:
        # Numbers ascend with time, so the first and the last one of a queue are its oldest and its newest.
        row = self._connection.execute("SELECT published_at FROM message WHERE id = ?", (number,)).fetchone()
        return None if row is None else _instant(row[0])

    def domains(self, name: str, ages: Sequence[float], now: datetime) -> tuple[DomainState, ...]:
        """Messages of a queue by domain."""
        counted = _DomainCounts(ages, now)
        with self._reading():
            self._go_on()
            for column, statement in _MESSAGES:
                parameters = (name, _milliseconds(now)) if column == 1 else (name,)
                cursor = self._connection.execute(statement, parameters)
                while rows := cursor.fetchmany(FETCH):
                    for published_at, properties, body, *is_due in rows:
                        counted.add(0 if any(is_due) else column, published_at, domain_of(properties, body))
                    self._go_on()
        return counted.states()

    def _go_on(self) -> None:
        # SQLite ends only the statement that runs at that moment.
        if self._is_interrupted:
            raise sqlite3.OperationalError("interrupted")

    def purge(self, name: str, now: datetime, *, delayed: bool) -> int:
        """Delete what is there now."""
        table, condition, limit = (
            ("delayed", "due_at > ?", _milliseconds(now)) if delayed else ("ready", "id <= ?", self._last_number())
        )
        deleted = self._purge(table, condition, name, limit)
        if not delayed:
            deleted += self._purge("delayed", "due_at <= ?", name, _milliseconds(now))
        return deleted

    def _last_number(self) -> int:
        number: int = self._connection.execute("SELECT ifnull(max(id), 0) FROM message").fetchone()[0]
        return number

    def _purge(self, table: str, condition: str, name: str, limit: int) -> int:
        chosen = f"SELECT id FROM {table} WHERE queue = ? AND {condition} LIMIT {PURGE_CHUNK}"  # noqa: S608 - constants
        total = 0
        while not self._is_interrupted:
            with self._locks.turn(self._patience), database.transaction(self._connection):
                numbers = [number for (number,) in self._connection.execute(chosen, (name, limit))]
                marks = ",".join("?" * len(numbers))
                self._connection.execute(
                    f"DELETE FROM {table} WHERE queue = ? AND id IN ({marks})",  # noqa: S608 - constants
                    (name, *numbers),
                )
                self._connection.execute(f"DELETE FROM message WHERE id IN ({marks})", numbers)  # noqa: S608
            total += len(numbers)
            if len(numbers) < PURGE_CHUNK:
                break
            time.sleep(PURGE_PAUSE)
        return total

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """One state of the file for several statements."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


@dataclass(slots=True)
class _Counted:
    """Counts of one queue: ready, delayed, unsettled; its lowest and its highest number."""

    counts: list[int] = field(default_factory=lambda: [0, 0, 0])
    first: int = 2**63 - 1
    last: int = 0

    def add(self, column: int, count: int, first: int, last: int) -> None:
        self.counts[column] += count
        self.first = min(self.first, first)
        self.last = max(self.last, last)


class _DomainCounts:
    """Messages by domain while they are read."""

    def __init__(self, ages: Sequence[float], now: datetime) -> None:
        self._ages = ages
        self._now = _milliseconds(now)
        self._counts: dict[str, list[int]] = {}
        self._by_age: dict[str, list[int]] = {}
        self._oldest: dict[str, int] = {}

    def add(self, column: int, published_at: int, domain: str) -> None:
        if domain not in self._counts:
            if len(self._counts) >= MAX_DOMAINS:
                domain = FURTHER_DOMAINS
            self._counts.setdefault(domain, [0, 0, 0])
            self._by_age.setdefault(domain, [0] * (len(self._ages) + 1))
            self._oldest.setdefault(domain, published_at)
        self._counts[domain][column] += 1
        self._by_age[domain][bisect_left(self._ages, (self._now - published_at) / 1000)] += 1
        self._oldest[domain] = min(self._oldest[domain], published_at)

    def states(self) -> tuple[DomainState, ...]:
        """The largest first, equal ones by name."""
        ordered = sorted(self._counts.items(), key=lambda item: (-sum(item[1]), item[0]))
        return tuple(
            DomainState(
                domain=domain,
                ready=ready,
                delayed=delayed,
                unsettled=unsettled,
                by_age=tuple(self._by_age[domain]),
                oldest_at=_instant(self._oldest[domain]),
            )
            for domain, (ready, delayed, unsettled) in ordered
        )


def domain_of(properties: bytes | None, body: bytes) -> str:
    """Domain of the recipient of a stored message, or what kept it from being read, in parentheses."""
    try:
        encoding = decode_properties(properties).content_encoding
        recipient = _decode_recipient(decode_body(body, encoding, MAX_BODY_OCTETS)).recipient
    except (UndecodableBodyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NO_JSON
    try:
        return parse_address(recipient, loose=True).domain if isinstance(recipient, str) else NO_RECIPIENT
    except InvalidAddressError:
        return NO_RECIPIENT


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
