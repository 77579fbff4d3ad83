"""Tables of rules over any engine that speaks SQL: the statements and their order (spec operations.md 25)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from relayq.adapters.store.connections import Connections
from relayq.adapters.store.sql import MissingTableError, SqlConnection
from relayq.policy.tables import TABLES, VERSION
from relayq.ports import Column, ColumnKind, DatabaseUnavailableError, Row, SchemaError, StoreError, Table

MAX_ROWS = 1_000_000
"""Of one table: it is kept in memory, and somebody may have filled it by mistake."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What is peculiar to an engine.

    Attributes:
        types: Type of a column by its kind.
        columns: Finds the names of the columns of a table, which is its value ``?``.
    """

    types: Mapping[ColumnKind, str]
    columns: str


def rule_tables() -> tuple[Table, ...]:
    """All tables there are."""
    return tuple(
        Table(name, tuple(Column(column, ColumnKind(kind)) for column, kind in columns))
        for name, columns in TABLES.items()
    )


class SqlDatabase:
    """`relayq.ports.RulesDatabase` over connections that understand SQL."""

    def __init__(self, connect: Callable[[], Awaitable[SqlConnection]], dialect: Dialect) -> None:
        """Begin without a connection.

        Args:
            connect: Makes a connection, or raises `StoreUnavailableError`.
            dialect: What is peculiar to the engine.
        """
        self._connections = Connections(connect, 1)
        self._dialect = dialect

    async def read(self, tables: Sequence[Table]) -> dict[str, tuple[Row, ...]]:
        """See the port."""
        return await self._run(partial(self._read, tables=tables))

    async def find_gaps(self, tables: Sequence[Table]) -> tuple[str, ...]:
        """See the port."""
        gaps = await self._run(partial(self._find_gaps, tables=tables))
        return tuple(_describe(table, column) for table, column in gaps)

    async def repair(self, tables: Sequence[Table]) -> tuple[str, ...]:
        """See the port."""
        gaps = await self._run(partial(self._repair, tables=tables))
        return tuple(_describe(table, column) for table, column in gaps)

    async def purge(self, tables: Sequence[Table]) -> None:
        """See the port."""
        await self._run(partial(self._purge, tables=tables))

    async def close(self) -> None:
        """See the port."""
        await self._connections.close()

    async def _run(self, operation: Callable[[SqlConnection], Awaitable[T]]) -> T:
        try:
            return await self._connections.run(operation)
        except StoreError as error:
            raise DatabaseUnavailableError(str(error)) from error

    # --- operations on a connection; each may be done twice ---------------------------------------------------------

    async def _read(self, connection: SqlConnection, tables: Sequence[Table]) -> dict[str, tuple[Row, ...]]:
        found: dict[str, tuple[Row, ...]] = {}
        for table in tables:
            names = [column.name for column in table.columns]
            statement = f"SELECT {', '.join(names)} FROM {table.name} ORDER BY id LIMIT {MAX_ROWS + 1}"  # noqa: S608 - names of ours
            try:
                rows = await connection.fetch(statement)
            except MissingTableError:
                raise SchemaError(f"table {table.name} is missing") from None
            except StoreError:
                missing = [gap for gap in await self._find_gaps(connection, tables) if gap[0] is table]
                if not missing:
                    raise
                raise SchemaError(f"{_describe(*missing[0])} is missing") from None
            if len(rows) > MAX_ROWS:
                raise DatabaseUnavailableError(f"table {table.name} has more than {MAX_ROWS} rows")
            found[table.name] = tuple(dict(zip(names, map(_plain, row), strict=True)) for row in rows)
        return found

    async def _find_gaps(self, connection: SqlConnection, tables: Sequence[Table]) -> list[tuple[Table, Column | None]]:
        """What is missing: a table, or one of its columns."""
        gaps: list[tuple[Table, Column | None]] = []
        for table in tables:
            rows = await connection.fetch(self._dialect.columns, table.name)
            present = {str(_plain(row[0])).lower() for row in rows}
            if not present:
                gaps.append((table, None))
            else:
                gaps += [(table, column) for column in table.columns if column.name not in present]
        return gaps

    async def _repair(self, connection: SqlConnection, tables: Sequence[Table]) -> list[tuple[Table, Column | None]]:
        gaps = await self._find_gaps(connection, tables)
        for table, column in gaps:
            if column is None:
                await self._create(connection, table)
            else:
                definition = f"{column.name} {self._dialect.types[column.kind]}"
                await connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
        return gaps

    async def _create(self, connection: SqlConnection, table: Table) -> None:
        columns = ", ".join(f"{column.name} {self._dialect.types[column.kind]}" for column in table.columns)
        await connection.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({columns})")
        if table.name == "settings_version":
            await connection.execute("INSERT INTO settings_version (version) VALUES (?)", VERSION)

    async def _purge(self, connection: SqlConnection, tables: Sequence[Table]) -> None:
        for table in tables:
            await connection.execute(f"DROP TABLE IF EXISTS {table.name}")
            await self._create(connection, table)


def _describe(table: Table, column: Column | None) -> str:
    return f"table {table.name}" if column is None else f"column {table.name}.{column.name}"


def _plain(value: object) -> object:
    """A value as rules see it; some drivers give texts as octets."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | bytearray | memoryview) else value
