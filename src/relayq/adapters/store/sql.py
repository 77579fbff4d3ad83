"""Bodies as rows of a table, for servers that speak SQL: the statements and their order (spec storage.md 6).

What PostgreSQL and MySQL have in common is here; a dialect brings the rest and the connection. The usual case, a body
in one row under a new key, is a single statement in every operation. Bodies in parts, and keys that had a body before,
are worked on in transactions. Every operation may be done twice, because a lost connection does not say how far it got.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from relayq.adapters.store.connections import Connection, Connections
from relayq.adapters.store.encoding import IDENTITY, join, pack_aside, part_keys, split, unpack_aside
from relayq.adapters.store.rows import (
    PART_BYTES,
    SWEEP_BATCH,
    check_size,
    parts_of,
    removable_parts_of,
    size_of,
)
from relayq.ports import StoreDamagedError, StoreUnavailableError

# Another program may have put there what we would not: it shall not be able to fill our memory.
_LOAD = """
SELECT encoding, size, parts, OCTET_LENGTH(value), CASE WHEN OCTET_LENGTH(value) <= 536870912 THEN value END
FROM messages WHERE id = ?
"""
_REFRESH = "UPDATE messages SET expire = ? WHERE id = ? AND expire < ?"
_REFRESH_ONE = "UPDATE messages SET expire = ? WHERE id = ? AND expire < ? AND COALESCE(parts, 0) = 0"
_DELETE = "DELETE FROM messages WHERE id = ?"
_DELETE_ONE = "DELETE FROM messages WHERE id = ? AND COALESCE(parts, 0) = 0"
_LOCK = "SELECT parts FROM messages WHERE id = ? FOR UPDATE"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Statements as one server understands them; values stand as ``?``.

    Attributes:
        create: Make the table and its index when they are missing, together or not at all.
        insert: Add a row, with the values of `SqlStore._row`. One with the same id stays as it is, and counts as none.
        replace: The same in place of a row with the same id.
        sweep: Delete rows that expired before the first value, at most as many as the second.
        begin: Begin a transaction that changes rows.
        begin_snapshot: Begin a transaction whose reads all see the same state of the table.
        encode_key: What stands in the column ``id``.
    """

    create: tuple[str, ...]
    insert: str
    replace: str
    sweep: str
    begin: str
    begin_snapshot: tuple[str, ...]
    encode_key: Callable[[str], str | bytes]


class SqlConnection(Connection, Protocol):
    """A connection as the statements need it; raises the errors of this module and of `Connections`."""

    @property
    def largest_value_bytes(self) -> int:
        """What fits into one statement."""
        ...

    async def fetch(self, statement: str, *values: object) -> Sequence[Sequence[Any]]:
        """Rows a statement finds."""
        ...

    async def execute(self, statement: str, *values: object) -> int:
        """How many rows a statement changed; without values it may be of any kind."""
        ...


class MissingTableError(StoreUnavailableError):
    """The table is not there."""


class SqlStore:
    """`relayq.ports.MessageStore` on a table of a database server."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[SqlConnection]],
        dialect: Dialect,
        threads: int,
        *,
        compress: bool,
        part_bytes: int = PART_BYTES,
    ) -> None:
        """Begin without a connection.

        Args:
            connect: Makes a connection, or raises `StoreUnavailableError`.
            dialect: What is peculiar to the server.
            threads: Most connections.
            compress: Write bodies as gzip.
            part_bytes: Largest value of one row.
        """
        self._connections = Connections(connect, threads)
        self._dialect = dialect
        self._compress = compress
        self._part_bytes = part_bytes

    async def load(self, key: str) -> bytes | None:
        """Return the body of ``key``."""
        found = await self._run(partial(self._load, key=key))
        return None if found is None else await unpack_aside(*found)

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep a body; the server has committed it when this returns."""
        value, encoding = await pack_aside(body, compress=self._compress)
        stored = _Stored(value=value, encoding=encoding, expire=int(expire_at.timestamp()), modified=int(time.time()))
        await self._run(partial(self._save, key=key, stored=stored))

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Move an expiry to later."""
        await self._run(partial(self._refresh, key=key, expire=int(expire_at.timestamp())))

    async def delete(self, key: str) -> None:
        """Remove a body, also one in parts."""
        await self._run(partial(self._delete, key=key))

    async def sweep(self, now: datetime) -> bool:
        """Remove up to a thousand expired rows."""
        expired = partial(_execute, statement=self._dialect.sweep, values=(int(now.timestamp()), SWEEP_BATCH))
        return await self._run(expired) == SWEEP_BATCH

    async def probe(self) -> None:
        """Look for a random key."""
        await self._run(partial(self._load, key=secrets.token_hex(16)))

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _run(self, operation: Callable[[SqlConnection], Awaitable[T]]) -> T:
        try:
            return await self._connections.run(operation)
        except MissingTableError:
            await self._connections.run(self._create)
            return await self._connections.run(operation)

    async def _create(self, connection: SqlConnection) -> None:
        for statement in self._dialect.create:
            await connection.execute(statement)

    # --- operations on a connection ---------------------------------------------------------------------------------

    async def _load(self, connection: SqlConnection, key: str) -> tuple[bytes, str | None] | None:
        rows = await connection.fetch(_LOAD, self._dialect.encode_key(key))
        if not rows:
            return None
        if not parts_of(rows[0][2]):
            return _whole_value(rows[0]), _text(rows[0][0])
        for statement in self._dialect.begin_snapshot:
            await connection.execute(statement)
        # Somebody may have replaced the body in between, hence the row again.
        rows = await connection.fetch(_LOAD, self._dialect.encode_key(key))
        parts = await self._load_parts(connection, key, rows[0]) if rows else []
        await connection.execute("COMMIT")
        if not rows:
            return None
        if not parts_of(rows[0][2]):
            return _whole_value(rows[0]), _text(rows[0][0])
        return join(parts, size_of(rows[0][1])), _text(rows[0][0])

    async def _load_parts(self, connection: SqlConnection, key: str, master: Sequence[Any]) -> list[bytes | None]:
        """Parts in order; ends early with the first one that is missing or makes the whole too large."""
        parts: list[bytes | None] = []
        left = size_of(master[1])
        for part_key in part_keys(key, parts_of(master[2])):
            rows = await connection.fetch(_LOAD, self._dialect.encode_key(part_key))
            parts.append(_value(rows[0]) if rows else None)
            left -= len(parts[-1] or b"")
            if parts[-1] is None or left < 0:
                break
        return parts

    async def _save(self, connection: SqlConnection, key: str, stored: _Stored) -> None:
        parts = split(stored.value, min(self._part_bytes, connection.largest_value_bytes))
        if not parts and await connection.execute(self._dialect.insert, *self._row(key, stored)):
            return
        # The row of the key comes first in every transaction: whoever has it may change the rows of its parts.
        master = self._row(key, stored, len(parts))
        await connection.execute(self._dialect.begin)
        old = await self._lock(connection, key)
        if old is None and not await connection.execute(self._dialect.insert, *master):
            old = await self._lock(connection, key)
        await connection.execute(self._dialect.replace, *master)
        names = part_keys(key, max(len(parts), old or 0))
        for name, part in zip(names, parts, strict=False):
            await connection.execute(self._dialect.replace, *self._row(name, stored.part(part)))
        for name in names[len(parts) :]:
            await connection.execute(_DELETE, self._dialect.encode_key(name))
        await connection.execute("COMMIT")

    async def _refresh(self, connection: SqlConnection, key: str, expire: int) -> None:
        if await connection.execute(_REFRESH_ONE, expire, self._dialect.encode_key(key), expire):
            return
        await self._in_all_parts(connection, key, lambda one: connection.execute(_REFRESH, expire, one, expire))

    async def _delete(self, connection: SqlConnection, key: str) -> None:
        if await connection.execute(_DELETE_ONE, self._dialect.encode_key(key)):
            return
        await self._in_all_parts(connection, key, lambda one: connection.execute(_DELETE, one))

    async def _in_all_parts(
        self, connection: SqlConnection, key: str, do: Callable[[str | bytes], Awaitable[int]]
    ) -> None:
        """Do something with the row of ``key`` and those of its parts, together or not at all."""
        await connection.execute(self._dialect.begin)
        for name in (key, *part_keys(key, await self._lock(connection, key) or 0)):
            await do(self._dialect.encode_key(name))
        await connection.execute("COMMIT")

    async def _lock(self, connection: SqlConnection, key: str) -> int | None:
        """Keep others from changing a body until the end of the transaction; returns its number of parts.

        ``None``: there is no row, and nobody is kept from anything.
        """
        rows = await connection.fetch(_LOCK, self._dialect.encode_key(key))
        return removable_parts_of(rows[0][0]) if rows else None

    def _row(self, key: str, stored: _Stored, parts: int = 0) -> tuple[object, ...]:
        """Values of ``id``, ``value``, ``encoding``, ``size``, ``parts``, ``expire``, ``modified``."""
        value = b"" if parts else stored.value
        size = len(stored.value)
        return (self._dialect.encode_key(key), value, stored.encoding, size, parts, stored.expire, stored.modified)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A body as it is stored.

    Attributes:
        value: Its octets, compressed or not.
        encoding: Which of the two.
        expire: Seconds since 1970.
        modified: Seconds since 1970.
    """

    value: bytes
    encoding: str
    expire: int
    modified: int

    def part(self, value: bytes) -> _Stored:
        """One part of it."""
        return _Stored(value=value, encoding=IDENTITY, expire=self.expire, modified=self.modified)


async def _execute(connection: SqlConnection, statement: str, values: tuple[object, ...]) -> int:
    return await connection.execute(statement, *values)


def _whole_value(row: Sequence[Any]) -> bytes:
    value = _value(row)
    check_size(value, row[1])
    return value


def _value(row: Sequence[Any]) -> bytes:
    """The column ``value``, in which another program may keep text.

    Raises:
        StoreDamagedError: It is larger than any body.
    """
    length, value = row[3], row[4]
    if value is None:
        if length is not None:
            raise StoreDamagedError(f"{length} octets are more than any body has")
        return b""
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


def _text(encoding: object) -> str | None:
    return encoding.decode("ascii", "replace") if isinstance(encoding, bytes | bytearray) else encoding  # type: ignore[return-value]
