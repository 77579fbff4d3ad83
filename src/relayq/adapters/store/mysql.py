"""Bodies in MySQL or MariaDB, table ``messages`` (spec storage.md 6).

Only prepared statements are used for what has values, so nothing is ever escaped, whatever the server's modes are.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import asyncmy
from asyncmy import errors
from asyncmy.connection import PreparedStatement

from relayq.adapters.store.connections import TryAgainError, one_line
from relayq.adapters.store.rows import PART_BYTES
from relayq.adapters.store.sql import Dialect, MissingTableError, SqlStore
from relayq.ports import StoreAddress, StoreUnavailableError

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60
"""A statement nobody waits for any more ends on the server too; longer than any sensible `storage-timeout`."""

_STATEMENT_OVERHEAD_BYTES = 16 * 1024
"""Room in a packet for everything but the value."""

_ROW = "INTO messages (id, value, encoding, size, parts, expire, modified) VALUES (?, ?, ?, ?, ?, ?, ?)"

DIALECT = Dialect(
    # Binary keys: no collation takes different texts for the same. 1024 octets, and the suffix of a part.
    create=(
        """
        CREATE TABLE IF NOT EXISTS messages (
            id VARBINARY(1040) PRIMARY KEY, value LONGBLOB, encoding VARCHAR(16), size INT, parts INT, expire BIGINT,
            modified BIGINT, INDEX messages_expire (expire)
        ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
        """,
    ),
    insert=f"INSERT {_ROW}",
    replace=f"REPLACE {_ROW}",
    sweep="DELETE FROM messages WHERE expire < ? ORDER BY expire LIMIT ?",
    begin="START TRANSACTION",
    begin_snapshot=(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    encode_key=lambda key: key.encode("utf-8"),
)

_LOST = frozenset({0, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2014, 2055, 4031})
"""The connection is closed or about to be: by a shutdown, an administrator, after too long a rest, on the way."""
_DUPLICATE = 1062
_NO_TABLE = 1146
_NO_LOGIN = 2059
_PLAIN_LOGINS = ("mysql_clear_password", "dialog")
_DENIED = frozenset({1044, 1045, 1698, 3118})  # wrong password, database not allowed, other login needed, locked
_TRY_AGAIN = frozenset({
    1020,  # changed since read (MariaDB with innodb_snapshot_isolation)
    1205,  # lock wait timeout
    1213,  # deadlock
    1615,  # prepared statement needs to be re-prepared
})  # fmt: skip


class MySqlStore(SqlStore):
    """`relayq.ports.MessageStore` in a database of MySQL or MariaDB."""

    def __init__(self, address: StoreAddress, threads: int = 1, *, part_bytes: int = PART_BYTES) -> None:
        super().__init__(partial(connect, address), DIALECT, threads, compress=address.compress, part_bytes=part_bytes)


async def connect(address: StoreAddress) -> MySqlConnection:
    """Open a connection.

    Raises:
        StoreUnavailableError: The server cannot be reached, refuses access, or does not know the database.
    """
    host, port = address.hosts[0]
    driver: asyncmy.Connection | None = None
    try:
        tls = tls_context(dict(address.parameters))
        driver = await asyncmy.connect(
            host=host,
            port=port or 3306,
            user=address.username,
            password=(address.password or "").encode("utf-8"),
            database=address.database,
            charset="utf8mb4",
            connect_timeout=CONNECT_SECONDS,
            # A value that does not fit is an error: without this some servers would cut it.
            sql_mode="'STRICT_ALL_TABLES'",
            autocommit=True,
            program_name="relayq",
            ssl=tls,
            auth_plugin_map={} if tls else dict.fromkeys(_PLAIN_LOGINS, _RefusedLogin),
        )
        connection = MySqlConnection(driver)
        await connection.prepare()
    except BaseException as error:
        if driver is not None:
            driver.close()
        if isinstance(error, StoreUnavailableError) or not isinstance(error, Exception):
            raise
        raise StoreUnavailableError(f"mysql: {_describe(error)}") from error
    return connection


class _RefusedLogin:
    """Stands in for logins that any server, or who poses as it, can ask for to get the password as it is."""

    def __init__(self, driver: asyncmy.Connection) -> None:
        del driver

    def authenticate(self, packet: object) -> object:
        """Refuse."""
        del packet
        raise errors.OperationalError(_NO_LOGIN, "the server wants the password as plain text, which takes ssl-mode")


def tls_context(options: Mapping[str, str]) -> ssl.SSLContext | None:
    """How to encrypt, from the options that MySQL's own programs have; ``None`` = not at all.

    Raises:
        OSError: A file cannot be read, or holds no certificate or key.
    """
    mode = options.get("ssl-mode", "").upper() or ("VERIFY_CA" if "ssl-ca" in options else "DISABLED")
    if mode == "DISABLED":
        return None
    context = ssl.create_default_context(cafile=options.get("ssl-ca"))
    context.check_hostname = mode == "VERIFY_IDENTITY"
    if mode == "REQUIRED":
        context.verify_mode = ssl.CERT_NONE
    if "ssl-cert" in options:
        context.load_cert_chain(options["ssl-cert"], options.get("ssl-key"))
    return context


class _Result(Protocol):
    """What the driver makes of an answer."""

    rows: Sequence[Sequence[Any]] | None
    affected_rows: int


class MySqlConnection:
    """`relayq.adapters.store.sql.SqlConnection` over asyncmy."""

    def __init__(self, driver: asyncmy.Connection) -> None:
        self.largest_value_bytes = PART_BYTES
        self._driver = driver
        self._prepared: dict[str, PreparedStatement] = {}
        self._is_broken = False

    async def prepare(self) -> None:
        """Set a limit of ours, and ask for one of the server's."""
        is_maria = "MariaDB" in self._driver.get_server_info()
        limit = (
            f"max_statement_time = {STATEMENT_SECONDS}" if is_maria else f"max_execution_time = {STATEMENT_SECONDS}000"
        )
        await self.execute(f"SET SESSION {limit}")
        [[packet]] = await self.fetch("SELECT @@max_allowed_packet")
        self.largest_value_bytes = max(int(packet) - _STATEMENT_OVERHEAD_BYTES, 1)

    @property
    def is_usable(self) -> bool:
        """Open, in step, and in no transaction."""
        return self._driver.connected and not self._is_broken and not self._driver.get_transaction_status()

    async def fetch(self, statement: str, *values: object) -> Sequence[Sequence[Any]]:
        """Rows."""
        try:
            result = await self._run(statement, values)
        except Exception as error:
            raise self._translate(error) from error
        return result.rows or ()

    async def execute(self, statement: str, *values: object) -> int:
        """Number of rows that were inserted, changed or deleted; one that is there already is not inserted."""
        try:
            if not values:  # not everything can be prepared
                await self._driver.query(statement)  # type: ignore[no-untyped-call]
                return 0
            affected = (await self._run(statement, values)).affected_rows
        except Exception as error:
            if _code_of(error) == _DUPLICATE:
                return 0
            raise self._translate(error) from error
        return affected

    async def _run(self, statement: str, values: tuple[object, ...]) -> _Result:
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = await self._driver.prepare(statement)  # type: ignore[no-untyped-call]
            self._prepared[statement] = prepared
        result: _Result = await prepared.execute(values)
        return result

    def terminate(self) -> None:
        """Cut it."""
        self._driver.close()

    async def close(self) -> None:
        """Say goodbye."""
        await self._driver.ensure_closed()

    def _translate(self, error: Exception) -> StoreUnavailableError:
        code = _code_of(error)
        text = f"mysql: {_describe(error)}"
        if code is None or code in _LOST:
            # What is no error of the server's is an answer that could not be understood: nothing fits any more.
            self._is_broken = True
            return TryAgainError(text)
        if code == _NO_TABLE:
            return MissingTableError(text)
        return TryAgainError(text) if code in _TRY_AGAIN else StoreUnavailableError(text)


def _code_of(error: Exception) -> int | None:
    code = error.args[0] if isinstance(error, errors.MySQLError) and error.args else None
    return code if isinstance(code, int) else None


def _describe(error: Exception) -> str:
    """Text of an error, without the user name that a refusal quotes."""
    code = _code_of(error)
    if code in _DENIED:
        return f"access denied ({code})"
    text = one_line(str(error.args[-1])) if error.args else type(error).__name__
    return text if code is None else f"{text} ({code})"
