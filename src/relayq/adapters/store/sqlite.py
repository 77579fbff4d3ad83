"""Bodies in one SQLite file, table ``messages`` (spec storage.md 6); large ones in parts."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from relayq.adapters.store.encoding import IDENTITY, join, pack, part_keys, split, unpack
from relayq.adapters.store.rows import PART_BYTES, SWEEP_BATCH, check_size, parts_of, removable_parts_of, size_of
from relayq.adapters.store.threads import IoThreads
from relayq.ports import StoreAddress, StoreUnavailableError

LOCK_SECONDS = 5.0
_LOOK_SECONDS = 0.005

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, value BLOB, encoding TEXT, size INTEGER, parts INTEGER, expire BIGINT, modified BIGINT
);
CREATE INDEX IF NOT EXISTS messages_expire ON messages (expire);
"""
# A text put there by another program is a body as well.
_SELECT = "SELECT CAST(value AS BLOB), encoding, size, parts FROM messages WHERE id = ?"
_UPSERT = (
    "INSERT INTO messages (id, value, encoding, size, parts, expire, modified) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET value = excluded.value, encoding = excluded.encoding, size = excluded.size, "
    "parts = excluded.parts, expire = excluded.expire, modified = excluded.modified"
)
_SWEEP = "DELETE FROM messages WHERE rowid IN (SELECT rowid FROM messages WHERE expire < ? LIMIT ?)"

T = TypeVar("T")


class SqliteStore:
    """`relayq.ports.MessageStore` on an SQLite file; the work is done in threads, each with a connection of its own."""

    def __init__(self, address: StoreAddress, threads: int = 1, *, part_bytes: int = PART_BYTES) -> None:
        self._rows = BodyRows(address.path, compress=address.compress, part_bytes=part_bytes)
        self._threads = IoThreads("store", threads)

    async def load(self, key: str) -> bytes | None:
        """Return the body of ``key``."""
        return await self._run(partial(self._rows.load, key))

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep a body; it is on the disk when this returns."""
        await self._run(partial(self._rows.save, key, body, int(expire_at.timestamp())))

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Move an expiry to later."""
        await self._run(partial(self._rows.refresh, key, int(expire_at.timestamp())))

    async def delete(self, key: str) -> None:
        """Remove an entry."""
        await self._run(partial(self._rows.delete, key))

    async def sweep(self, now: datetime) -> bool:
        """Remove up to a thousand expired rows."""
        return await self._run(partial(self._rows.sweep, int(now.timestamp())))

    async def probe(self) -> None:
        """Look for a random key."""
        await self._run(partial(self._rows.load, secrets.token_hex(16)))

    async def close(self) -> None:
        """End the threads and close the file."""
        await self._threads.close()
        self._rows.close()

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await self._threads.run(call)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(f"sqlite: {error}") from error


class BodyRows:
    """The table, for threads: every method blocks, and raises ``sqlite3.Error`` or ``OSError``."""

    def __init__(self, path: str, *, compress: bool, part_bytes: int) -> None:
        self._path = path
        self._compress = compress
        self._part_bytes = part_bytes
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._is_prepared = False

    def load(self, key: str) -> bytes | None:
        """Body of ``key``, all its parts read in one snapshot."""
        return self._within("BEGIN", partial(self._load, key=key))

    def _load(self, connection: sqlite3.Connection, key: str) -> bytes | None:
        row = connection.execute(_SELECT, (key,)).fetchone()
        if row is None:
            return None
        value, encoding, size, parts = row
        value = value or b""
        if ids := part_keys(key, parts_of(parts)):
            value = join((self._part(connection, part) for part in ids), size_of(size))
        else:
            check_size(value, size)
        return unpack(value, encoding)

    def _part(self, connection: sqlite3.Connection, key: str) -> bytes | None:
        row = connection.execute(_SELECT, (key,)).fetchone()
        return None if row is None else row[0] or b""

    def save(self, key: str, body: bytes, expire_at: int) -> None:
        """Parts and master in one transaction."""
        value, encoding = pack(body, compress=self._compress)
        parts = split(value, self._part_bytes)
        now = int(time.time())
        master = (key, b"" if parts else value, encoding, len(value), len(parts), expire_at, now)
        rows = [
            (part_key, part, IDENTITY, len(part), 0, expire_at, now)
            for part_key, part in zip(part_keys(key, len(parts)), parts, strict=True)
        ]

        def write(connection: sqlite3.Connection) -> None:
            self._delete(connection, key)
            connection.executemany(_UPSERT, [*rows, master])

        self._within("BEGIN IMMEDIATE", write, is_durable=True)

    def refresh(self, key: str, expire_at: int) -> None:
        """Later expiry for master and parts; a row without one has been written by another program."""

        def write(connection: sqlite3.Connection) -> None:
            ids = [(expire_at, one, expire_at) for one in (key, *self._parts_of(connection, key))]
            connection.executemany("UPDATE messages SET expire = ? WHERE id = ? AND expire < ?", ids)

        self._within("BEGIN IMMEDIATE", write)

    def delete(self, key: str) -> None:
        """Master and parts in one transaction."""
        self._within("BEGIN IMMEDIATE", partial(self._delete, key=key))

    def _delete(self, connection: sqlite3.Connection, key: str) -> None:
        ids = (key, *self._parts_of(connection, key))
        connection.executemany("DELETE FROM messages WHERE id = ?", [(one,) for one in ids])

    def _parts_of(self, connection: sqlite3.Connection, key: str) -> list[str]:
        row = connection.execute("SELECT parts FROM messages WHERE id = ?", (key,)).fetchone()
        return [] if row is None else part_keys(key, removable_parts_of(row[0]))

    def sweep(self, now: int) -> bool:
        """Remove up to `SWEEP_BATCH` expired rows; true when there may be more."""
        swept = self._within(
            "BEGIN IMMEDIATE", lambda connection: connection.execute(_SWEEP, (now, SWEEP_BATCH)).rowcount
        )
        return swept == SWEEP_BATCH

    def close(self) -> None:
        """Close all connections; the threads have ended."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    # --- connections --------------------------------------------------------------------------------------------------

    def _within(self, begin: str, work: Callable[[sqlite3.Connection], T], *, is_durable: bool = False) -> T:
        connection = self._connection()
        try:
            # A deletion that a power failure undoes leaves what expires anyway: not worth a flush, which costs more
            # than everything else together. (Behind a log, `NORMAL` loses transactions, never the file.)
            connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            connection.execute(begin)
            try:
                result = work(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error:
            self._drop(connection)  # a file that was damaged or is locked is looked at afresh
            raise
        return result

    def _connection(self) -> sqlite3.Connection:
        """The connection of this thread, on the file that is there now: a replaced one would swallow bodies."""
        self._prepare()
        status = os.stat(self._path)
        identity = (status.st_dev, status.st_ino)
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            if self._local.identity == identity:
                return connection
            self._drop(connection)
        connection = sqlite3.connect(
            self._path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            _use_log(connection)
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._connections.append(connection)
        self._local.connection, self._local.identity = connection, identity
        return connection

    def _prepare(self) -> None:
        """Make the file, once: one that vanishes later is a file system that is not mounted."""
        if self._is_prepared:
            return
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._is_prepared = True

    def _drop(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)
        connection.close()
        self._local.connection = None


def _use_log(connection: sqlite3.Connection) -> None:
    """Write ahead into a log. Who does that to a new file while others do has to wait himself: SQLite does not."""
    give_up_at = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
        else:
            return
        time.sleep(_LOOK_SECONDS)
