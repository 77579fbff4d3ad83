"""PostgreSQL and MariaDB for the contract suite: a table per test, made by the store."""

from __future__ import annotations

from dataclasses import replace

from relayq.adapters.store import mysql, postgresql
from relayq.adapters.store.rows import PART_BYTES
from relayq.adapters.store.sql import SqlConnection, SqlStore
from relayq.config.store_address import parse_store_address
from relayq.ports import MessageStore, StoreAddress
from tests.support.ports import free_port


class SqlFactory:
    """What both have in common; the table is dropped after each test."""

    can_compress = True
    can_split = True
    can_expire = True

    def __init__(self, address: str) -> None:
        self._address = parse_store_address(address)
        self._admin: SqlConnection | None = None

    def store(self, address: StoreAddress, part_bytes: int) -> SqlStore:
        """A store object."""
        raise NotImplementedError

    async def connect(self) -> SqlConnection:
        """A connection of the test's own."""
        raise NotImplementedError

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        return self.store(replace(self._address, compress=compress), part_bytes or PART_BYTES)

    def make_unreachable(self) -> MessageStore:
        return self.store(replace(self._address, hosts=(("127.0.0.1", free_port()),)), PART_BYTES)

    async def put_foreign(self, key: str, value: bytes) -> None:
        store = self.make()
        await store.probe()
        await store.close()
        await self._execute("INSERT INTO messages (id, value) VALUES (?, ?)", self.identifier(key), value)

    async def damage(self, key: str) -> None:
        part, master = self.identifier(f"{key}.part1"), self.identifier(key)
        if not await self._execute("DELETE FROM messages WHERE id = ?", part):
            await self._execute("UPDATE messages SET value = substring(value, 1, 20), size = 20 WHERE id = ?", master)

    async def count(self) -> int:
        connection = await self._connected()
        [[count]] = await connection.fetch("SELECT count(*) FROM messages WHERE 0 = ?", 0)
        return int(count)

    def identifier(self, key: str) -> str | bytes:
        """What stands in the column ``id``; ``key`` is plain ASCII."""
        return key

    async def _connected(self) -> SqlConnection:
        if self._admin is None:
            self._admin = await self.connect()
        return self._admin

    async def _execute(self, statement: str, *values: object) -> int:
        return await (await self._connected()).execute(statement, *values)

    async def close(self) -> None:
        await self._execute("DROP TABLE IF EXISTS messages")
        await (await self._connected()).close()


class PostgreSqlFactory(SqlFactory):
    """A table in PostgreSQL."""

    def store(self, address: StoreAddress, part_bytes: int) -> SqlStore:
        return postgresql.PostgreSqlStore(address, 2, part_bytes=part_bytes)

    async def connect(self) -> SqlConnection:
        return await postgresql.connect(self._address)


class MySqlFactory(SqlFactory):
    """A table in MariaDB."""

    def store(self, address: StoreAddress, part_bytes: int) -> SqlStore:
        return mysql.MySqlStore(address, 2, part_bytes=part_bytes)

    async def connect(self) -> SqlConnection:
        return await mysql.connect(self._address)

    def identifier(self, key: str) -> bytes:
        return key.encode("ascii")
