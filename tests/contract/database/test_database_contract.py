"""What every database of rules does (``ports.RulesDatabase``)."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from relayq.adapters.database import SqlDatabase, open_database, rule_tables
from relayq.adapters.database import database as module
from relayq.adapters.database.sqlite import SqliteConnection
from relayq.adapters.store import mysql, postgresql
from relayq.adapters.store.sql import SqlConnection
from relayq.config.store_address import parse_store_address
from relayq.ports import DatabaseUnavailableError, SchemaError, StoreAddress
from tests.support.ports import free_port

TABLES = rule_tables()
ALL_MISSING = tuple(f"table {table.name}" for table in TABLES)
INSERT = "INSERT INTO dkim_keys (domain, selector, private_key, priority) VALUES (?, ?, ?, ?)"


class Place:
    """A database to itself, and a connection of the test's own."""

    def __init__(self, address: StoreAddress, connect: Callable[[], Awaitable[SqlConnection]]) -> None:
        self.address = address
        self._connect = connect
        self._admin: SqlConnection | None = None
        self._opened: list[SqlDatabase] = []

    def open(self, address: StoreAddress | None = None) -> SqlDatabase:
        self._opened.append(open_database(address or self.address))
        return self._opened[-1]

    def unreachable(self) -> StoreAddress:
        if self.address.engine == "sqlite":
            return dataclasses.replace(self.address, path=f"{self.address.path}/nothing/here")
        return dataclasses.replace(self.address, hosts=(("127.0.0.1", free_port()),))

    async def execute(self, statement: str, *values: object) -> None:
        self._admin = self._admin or await self._connect()
        await self._admin.execute(statement, *values)

    async def close(self) -> None:
        for database in self._opened:
            await database.close()
            await database.close()
        for table in TABLES:
            await self.execute(f"DROP TABLE IF EXISTS {table.name}")
        assert self._admin is not None
        await self._admin.close()


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.server),
        pytest.param("mariadb", marks=pytest.mark.server),
    ]
)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "sqlite":
        path = str(tmp_path / "rules.db")
        made = Place(parse_store_address(f"sqlite://{path}"), lambda: SqliteConnection.open(path))
    else:
        address = parse_store_address(request.getfixturevalue(request.param).address)
        server = postgresql if request.param == "postgresql" else mysql
        made = Place(address, lambda: server.connect(address))
    yield made
    await made.close()


async def test_tables_are_created_and_read(place: Place) -> None:
    database = place.open()
    assert await database.find_gaps(TABLES) == ALL_MISSING
    assert await database.repair(TABLES) == ALL_MISSING
    assert await database.find_gaps(TABLES) == await database.repair(TABLES) == ()
    for number in (1, 2):
        await place.execute(INSERT, "grüße.example", f"s{number}", "k" * 20_000, -number)
    found = await database.read(TABLES)
    assert list(found) == [table.name for table in TABLES]
    first, second = found["dkim_keys"]
    assert (first["domain"], first["selector"], first["private_key"]) == ("grüße.example", "s1", "k" * 20_000)
    assert (first["priority"], second["priority"], first["expire"]) == (-1, -2, None)
    assert isinstance(first["id"], int)
    assert first["id"] < second["id"]  # type: ignore[operator]
    assert [row["version"] for row in found["settings_version"]] == [1]
    assert found["dkim_patterns"] == ()


async def test_a_column_is_added_and_nothing_lost(place: Place) -> None:
    database = place.open()
    await database.repair(TABLES)
    await place.execute(INSERT, "shop.example", "s1", "key", 1)
    await place.execute("ALTER TABLE dkim_keys DROP COLUMN match_dns")
    with pytest.raises(SchemaError, match=r"^column dkim_keys\.match_dns is missing$"):
        await database.read(TABLES)
    assert await database.find_gaps(TABLES) == ("column dkim_keys.match_dns",)
    assert await database.repair(TABLES) == ("column dkim_keys.match_dns",)
    (row,) = (await database.read(TABLES))["dkim_keys"]
    assert (row["domain"], row["match_dns"]) == ("shop.example", None)


async def test_a_table_that_is_missing_has_a_name(place: Place) -> None:
    database = place.open()
    with pytest.raises(SchemaError, match=r"^table dkim_keys is missing$"):
        await database.read(TABLES)


async def test_further_columns_are_left_alone(place: Place) -> None:
    database = place.open()
    await database.repair(TABLES)
    await place.execute("ALTER TABLE dkim_keys ADD COLUMN remarks VARCHAR(20)")
    assert await database.repair(TABLES) == ()
    assert (await database.read(TABLES))["dkim_keys"] == ()


async def test_purging_leaves_empty_tables(place: Place) -> None:
    database = place.open()
    await database.purge(TABLES)
    await place.execute(INSERT, "shop.example", "s1", "key", 1)
    await database.purge(TABLES)
    found = await database.read(TABLES)
    assert found["dkim_keys"] == ()
    assert len(found["settings_version"]) == 1


async def test_a_database_that_cannot_be_reached(place: Place) -> None:
    database = place.open(place.unreachable())
    with pytest.raises(DatabaseUnavailableError):
        await database.read(TABLES)


async def test_a_table_with_too_many_rows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 1)
    database = place.open()
    await database.repair(TABLES)
    for number in range(2):
        await place.execute(INSERT, "shop.example", f"s{number}", "key", 1)
    with pytest.raises(DatabaseUnavailableError, match="table dkim_keys has more than 1 rows"):
        await database.read(TABLES)
