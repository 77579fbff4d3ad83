"""Bodies in PostgreSQL, table ``messages`` of the first schema in the search path (spec storage.md 6)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlencode

import asyncpg

from relayq.adapters.store.connections import TryAgainError, one_line
from relayq.adapters.store.rows import PART_BYTES
from relayq.adapters.store.sql import Dialect, MissingTableError, SqlStore
from relayq.ports import StoreAddress, StoreUnavailableError

CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 60
"""A statement nobody waits for any more ends on the server too; longer than any sensible `storage-timeout`."""

_LOCK_ID = 7_236_829_120_443
"""Of the advisory lock that keeps two workers from making the same table: any number nobody else uses."""

# The order of keys does not matter, and an index in the order of a language breaks with the next version of the system.
_CREATE = f"""
DO $$ BEGIN
    PERFORM pg_advisory_xact_lock({_LOCK_ID});
    CREATE TABLE IF NOT EXISTS messages (
        id text COLLATE "C" PRIMARY KEY, value bytea, encoding text, size int, parts int, expire bigint, modified bigint
    );
    CREATE INDEX IF NOT EXISTS messages_expire ON messages (expire);
END $$
"""
_INSERT = """
INSERT INTO messages (id, value, encoding, size, parts, expire, modified) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO
"""
_NUL_ESCAPES = str.maketrans({"\0": "\x010", "\x01": "\x011"})


def encode_key(key: str) -> str:
    """The text of a key; PostgreSQL has no NUL in texts, which is written as U+0001 0, and U+0001 as U+0001 1."""
    return key.translate(_NUL_ESCAPES) if "\0" in key or "\x01" in key else key


DIALECT = Dialect(
    create=(_CREATE,),
    insert=f"{_INSERT} NOTHING",
    replace=_INSERT
    + "UPDATE SET value = excluded.value, encoding = excluded.encoding, size = excluded.size, "
    + "parts = excluded.parts, expire = excluded.expire, modified = excluded.modified",
    # What another sweeper is deleting is left to it.
    sweep=(
        "DELETE FROM messages WHERE id = ANY (ARRAY("
        "SELECT id FROM messages WHERE expire < ? ORDER BY expire LIMIT ? FOR UPDATE SKIP LOCKED))"
    ),
    begin="BEGIN",
    begin_snapshot=("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",),
    encode_key=encode_key,
)


class PostgreSqlStore(SqlStore):
    """`relayq.ports.MessageStore` in a PostgreSQL database."""

    def __init__(self, address: StoreAddress, threads: int = 1, *, part_bytes: int = PART_BYTES) -> None:
        super().__init__(partial(connect, address), DIALECT, threads, compress=address.compress, part_bytes=part_bytes)


async def connect(address: StoreAddress) -> PostgreSqlConnection:
    """Open a connection.

    Raises:
        StoreUnavailableError: The server cannot be reached, refuses access, or does not know the database.
    """
    host, port = address.hosts[0]
    driver = None
    try:
        driver = await asyncpg.connect(
            f"postgresql:///?{urlencode(address.parameters)}",
            host=host,
            port=port or 5432,
            user=address.username,
            password=address.password,
            database=address.database,
            timeout=CONNECT_SECONDS,
            max_cached_statement_lifetime=0,
            server_settings={"application_name": "relayq"},
        )
        # Not in the settings of the connection: a pooler in between refuses those it does not know.
        await driver.execute(f"SET statement_timeout = {STATEMENT_SECONDS * 1000}")
    except BaseException as error:
        if driver is not None:
            driver.terminate()
        if not isinstance(error, Exception):
            raise
        raise StoreUnavailableError(f"postgresql: {_describe(error)}") from error
    return PostgreSqlConnection(driver)


class PostgreSqlConnection:
    """`relayq.adapters.store.sql.SqlConnection` over asyncpg."""

    largest_value_bytes = PART_BYTES

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    @property
    def is_usable(self) -> bool:
        """Open and in no transaction."""
        return not self._driver.is_closed() and not self._driver.is_in_transaction()

    async def fetch(self, statement: str, *values: object) -> Sequence[Sequence[Any]]:
        """Rows."""
        try:
            rows: Sequence[Sequence[Any]] = await self._driver.fetch(_numbered(statement), *values)
        except Exception as error:
            raise self._translate(error) from error
        return rows

    async def execute(self, statement: str, *values: object) -> int:
        """Number of rows, 0 for what has none."""
        try:
            status: str = await self._driver.execute(_numbered(statement), *values)
        except Exception as error:
            raise self._translate(error) from error
        number = status.rpartition(" ")[2]  # "INSERT 0 1", "DELETE 1", "COMMIT"
        return int(number) if number.isdecimal() else 0

    def terminate(self) -> None:
        """Cut it."""
        self._driver.terminate()

    async def close(self) -> None:
        """Say goodbye; a server that is gone does not mind."""
        try:
            await self._driver.close()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> StoreUnavailableError:
        text = f"postgresql: {_describe(error)}"
        if isinstance(error, asyncpg.UndefinedTableError):
            return MissingTableError(text)
        if isinstance(error, _TRY_AGAIN) or self._driver.is_closed():
            return TryAgainError(text)
        return StoreUnavailableError(text)


_TRY_AGAIN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,  # somebody has changed the table
    asyncpg.OutdatedSchemaCacheError,
)


@lru_cache(64)
def _numbered(statement: str) -> str:
    """A statement with ``$1``, ``$2`` … in place of its ``?``."""
    first, *others = statement.split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))


def _describe(error: Exception) -> str:
    """Text of an error, without the user name that a refusal quotes."""
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"access denied ({error.sqlstate})"
    return one_line(str(error)) or type(error).__name__
