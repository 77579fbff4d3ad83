"""A database of rules that exists only in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relayq.ports import DatabaseError, Row, SchemaError, Table


class MemoryDatabase:
    """`relayq.ports.RulesDatabase` over lists.

    Attributes:
        rows: By table; a table that is not there is missing.
        trouble: Raised by every method, ``None`` for none.
        reads: How often it was read.
        is_closed: `close` was called.
    """

    def __init__(self, **rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.trouble: DatabaseError | None = None
        self.reads = 0
        self.is_closed = False

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    async def read(self, tables: Sequence[Table]) -> dict[str, tuple[Row, ...]]:
        """See the port."""
        self.reads += 1
        self._check()
        found: dict[str, tuple[Row, ...]] = {}
        for table in tables:
            if table.name not in self.rows:
                raise SchemaError(f"table {table.name} is missing")
            names = [column.name for column in table.columns]
            found[table.name] = tuple({name: row.get(name) for name in names} for row in self.rows[table.name])
        return found

    async def find_gaps(self, tables: Sequence[Table]) -> tuple[str, ...]:
        """See the port."""
        self._check()
        return tuple(f"table {table.name}" for table in tables if table.name not in self.rows)

    async def repair(self, tables: Sequence[Table]) -> tuple[str, ...]:
        """See the port."""
        gaps = await self.find_gaps(tables)
        for table in tables:
            self.rows.setdefault(table.name, [])
        return gaps

    async def purge(self, tables: Sequence[Table]) -> None:
        """See the port."""
        self._check()
        self.rows.update({table.name: [] for table in tables})

    async def close(self) -> None:
        """See the port."""
        self.is_closed = True
