"""An SQLite file as a connection of the database of rules; every call runs in a thread."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from relayq.adapters.store.sql import MissingTableError
from relayq.ports import StoreUnavailableError

LOCK_SECONDS = 5.0
_NO_TABLE = "no such table"

T = TypeVar("T")


class SqliteConnection:
    """`relayq.adapters.store.sql.SqlConnection` over ``sqlite3``."""

    largest_value_bytes = 1 << 20

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver
        self._is_open = True

    @classmethod
    async def open(cls, path: str) -> SqliteConnection:
        """Open a file, which is made when it is missing.

        Raises:
            StoreUnavailableError: It cannot be opened.
        """

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)

        return cls(await _in_thread(connect))

    @property
    def is_usable(self) -> bool:
        """Open; there are no transactions."""
        return self._is_open

    async def fetch(self, statement: str, *values: object) -> Sequence[Sequence[Any]]:
        """Rows."""
        return await _in_thread(lambda: self._driver.execute(statement, _bound(values)).fetchall())

    async def execute(self, statement: str, *values: object) -> int:
        """Number of rows, 0 for what has none."""
        return await _in_thread(lambda: max(self._driver.execute(statement, _bound(values)).rowcount, 0))

    def terminate(self) -> None:
        """Close the file."""
        self._is_open = False
        self._driver.close()

    async def close(self) -> None:
        """Close the file."""
        self.terminate()


def _bound(values: tuple[object, ...]) -> Any:  # noqa: ANN401 - the library knows which values it takes
    return values


async def _in_thread(call: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(call)
    except (sqlite3.Error, OSError) as error:
        kind = MissingTableError if _NO_TABLE in str(error) else StoreUnavailableError
        raise kind(f"sqlite: {error}") from error
