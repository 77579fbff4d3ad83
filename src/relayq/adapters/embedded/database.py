"""Opening the embedded broker's file: ours, whole, of this version, or not at all (spec amqp.md 20, row "opening").

The file is recognised by SQLite's application id. A new one is built under another name and linked into place when it
is complete, so nobody ever sees half of one. Nothing here replaces or repairs a file that exists.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from relayq.adapters.embedded.location import CANNOT_CREATE
from relayq.adapters.embedded.locks import MachineLocks, TurnTimeoutError
from relayq.ports import BrokerRefusedError, BrokerStorageError, TopologyError

APPLICATION_ID = 0x52454C51
SCHEMA_VERSION = 1
DAMAGED = 71
"""Exit code EX_OSERR (spec config.md 4)."""

PAGE_BYTES = 8192
"""A 10 KB message costs 30 % less CPU than with SQLite's 4096. 32768 would save another 25 %, but a lone message would
then write a megabyte: every transaction writes about ten pages in full."""
CHECKPOINT_PAGES = 4000
"""32 MB of write-ahead log: pages of messages that live shortly are then copied to the database once, not each time."""
MAX_WAL_BYTES = 64 * 1024 * 1024
"""A log that had to grow further, for one huge message, shrinks to this when it starts anew."""
CACHE_KIB = 16 * 1024

_SCHEMA = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT, published_at INTEGER NOT NULL, properties BLOB, body BLOB NOT NULL);
CREATE TABLE ready (
    queue TEXT NOT NULL, rank INTEGER NOT NULL, id INTEGER NOT NULL, redelivered INTEGER NOT NULL,
    PRIMARY KEY (queue, rank, id)) WITHOUT ROWID;
CREATE TABLE delayed (
    queue TEXT NOT NULL, due_at INTEGER NOT NULL, id INTEGER NOT NULL, rank INTEGER NOT NULL,
    PRIMARY KEY (queue, due_at, id)) WITHOUT ROWID;
CREATE TABLE claimed (
    id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, queue TEXT NOT NULL, rank INTEGER NOT NULL);
CREATE TABLE owner (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL);
"""

_CLOCK = """
CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), boot TEXT NOT NULL, offset INTEGER NOT NULL)
"""
"""Beside the others, so that files of earlier versions get it and can still be used by those."""

_TABLES = frozenset({"message", "ready", "delayed", "claimed", "owner"})


def prepare_file(path: Path) -> None:
    """Make the file when there is none, and make sure that it is one of ours that we may use.

    Raises:
        BrokerRefusedError: No permission (exit code 77).
        BrokerStorageError: It cannot be created (73).
        TopologyError: Somebody else's file, or of a newer version (78); untouched.
        OSError: Not usable now: read-only file system. Try again later.
    """
    _create_if_missing(path)
    check_file(path)


def check_file(path: Path) -> None:
    """Make sure that a file that exists is one of ours that we may use; raises the last three of `prepare_file`."""
    _check_permission(path)
    _check_identity(path)


def connect(path: Path, busy_timeout: float = 1.0, *, any_thread: bool = False) -> sqlite3.Connection:
    """Open a prepared file; the caller holds the turn to write.

    Args:
        path: The file.
        busy_timeout: Seconds to wait for SQLite's own locks, which only tools that know nothing of turns hold.
        any_thread: The connection may be used by one thread after the other, instead of the calling one only.

    Raises:
        BrokerRefusedError: No permission for a file beside it (77).
        BrokerStorageError: Damaged (71).
        sqlite3.OperationalError: Not usable now: no space, read-only file system, locked. Try again later.
        OSError: As before.
    """
    try:
        return _connect(path, busy_timeout, any_thread=any_thread)
    except sqlite3.OperationalError:
        _check_permission(path)
        raise
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything that is written inside, or nothing of it; the caller holds the turn to write."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors
            connection.execute("ROLLBACK")
        raise


def close(connection: sqlite3.Connection, locks: MachineLocks, patience: float) -> None:
    """Close the file and its locks, inside a turn if there is one within ``patience`` seconds.

    SQLite empties the write-ahead log when it was the last one, and that is writing.
    """
    with contextlib.suppress(TurnTimeoutError, OSError, sqlite3.Error), locks.turn(patience):
        connection.close()
    connection.close()  # without a turn the log stays, for whoever opens the file next
    locks.close()


def _connect(path: Path, busy_timeout: float, *, any_thread: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        _uri(path, "mode=rw"),
        uri=True,
        isolation_level=None,
        timeout=busy_timeout,
        cached_statements=256,
        check_same_thread=not any_thread,
    )
    try:
        _check_tables(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # Debian's build overwrites deleted content by default, which doubles what is written for each message.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {MAX_WAL_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(_CLOCK)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_tables(connection: sqlite3.Connection) -> None:
    """Read the schema, and one row of each table: that finds a file cut short or overwritten in its first pages."""
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not found >= _TABLES:
        raise sqlite3.DatabaseError(f"tables are missing: {', '.join(sorted(_TABLES - found))}")
    for statement in (
        "SELECT id FROM message LIMIT 1",
        "SELECT id FROM ready LIMIT 1",
        "SELECT id FROM delayed LIMIT 1",
        "SELECT id FROM claimed LIMIT 1",
        "SELECT id FROM owner LIMIT 1",
    ):
        connection.execute(statement).fetchone()


def _check_permission(path: Path) -> None:
    """The database and SQLite's two files beside it must be ours to write; a read-only file system is not a refusal."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, "read-only file system", str(path))
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if file.exists() and not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
            raise BrokerRefusedError(f"no permission for {file}: it belongs to another user")


def _check_identity(path: Path) -> None:
    """Look at the header without touching anything, not even a journal left by a crash.

    Not with `open`: closing a second descriptor would drop the locks an open connection of this process holds.
    """
    if not path.is_file():
        raise TopologyError(f"{path} is not a file")
    with contextlib.closing(sqlite3.connect(_uri(path, "mode=ro&immutable=1"), uri=True)) as connection:
        try:
            application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise TopologyError(f"{path} is not a queue file of relayq; it was left untouched") from None
            # The write-ahead log may hold what is missing here: the real opening decides.
            return
    if application_id != APPLICATION_ID:
        raise TopologyError(f"{path} is not a queue file of relayq; it was left untouched")
    if version != SCHEMA_VERSION:
        raise TopologyError(
            f"{path} has format {version}, this relayq understands {SCHEMA_VERSION}; it was left untouched"
        )


def _create_if_missing(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise BrokerRefusedError(f"no permission for {path.parent}: {error.strerror}") from error
    except OSError as error:
        raise BrokerStorageError(f"cannot create {path}: {error.strerror}", CANNOT_CREATE) from error
    else:
        return
    try:
        _create(path)
    except FileExistsError as error:
        if not path.exists():
            raise BrokerStorageError(f"cannot create {path}: it is a link to nowhere", CANNOT_CREATE) from error
        # Else another process was faster.
    except OSError as error:
        raise BrokerStorageError(f"cannot create {path}: {error.strerror}", CANNOT_CREATE) from error
    except sqlite3.Error as error:
        raise BrokerStorageError(f"cannot create {path}: {error}", CANNOT_CREATE) from error


def _create(path: Path) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    os.close(descriptor)
    try:
        with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        os.link(name, path)
    finally:
        for file in (name, f"{name}-journal", f"{name}-wal", f"{name}-shm"):
            Path(file).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _uri(path: Path, query: str) -> str:
    return f"file:{quote(str(path))}?{query}"


def damaged(path: Path, error: sqlite3.DatabaseError) -> BrokerStorageError:
    """What to raise, or to log, for a file whose content makes no sense."""
    return BrokerStorageError(f"{path} is damaged ({error}); it was left as it is", DAMAGED)
