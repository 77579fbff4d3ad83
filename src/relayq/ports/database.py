"""What the engine asks of the database of rules: whole tables, read now and then (spec operations.md 25)."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class ColumnKind(enum.Enum):
    """What a column holds, in any of the engines."""

    ID = "id"
    """Primary key, given by the database."""
    INTEGER = "integer"
    """Also for booleans: 0 and 1."""
    NAME = "name"
    """Text of at most 255 characters."""
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; all but the primary key may be NULL."""

    name: str
    kind: ColumnKind


@dataclass(frozen=True, slots=True)
class Table:
    """A table of rules. Operators may write to it directly, so a value may be anything the column takes."""

    name: str
    columns: tuple[Column, ...]


Row = Mapping[str, object]
"""Values by column: ``int``, ``float``, ``str``, ``bytes`` or ``None``."""


class DatabaseError(Exception):
    """Base of what a database can refuse; texts are for the log and never contain credentials."""


class DatabaseUnavailableError(DatabaseError):
    """It cannot be reached, refused access, or its driver failed: temporary by nature."""


class SchemaError(DatabaseError):
    """A table or column is missing; the text names it."""


class RulesDatabase(Protocol):
    """One database of one process; it connects with the first operation. Every method may raise `DatabaseError`."""

    async def read(self, tables: Sequence[Table]) -> dict[str, tuple[Row, ...]]:
        """All rows of some tables by name, in the order of their ids.

        Raises:
            SchemaError: A table or column is missing.
        """
        ...

    async def find_gaps(self, tables: Sequence[Table]) -> tuple[str, ...]:
        """What is missing: ``table NAME`` or ``column NAME.NAME``, in the order of the tables."""
        ...

    async def repair(self, tables: Sequence[Table]) -> tuple[str, ...]:
        """Create what is missing, and change nothing else; what was missing."""
        ...

    async def purge(self, tables: Sequence[Table]) -> None:
        """Drop these tables with all they hold, and create them empty."""
        ...

    async def close(self) -> None:
        """Close connections and threads. Idempotent; no operation may be running or follow."""
        ...
