"""Adapters the contract suite of the message stores runs against, and what its tests share.

An adapter is one entry of `ADAPTERS`: a function that takes pytest's request and returns a `StoreFactory` for storage
of its own (a folder, a database, a bucket, a prefix).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest

from relayq.adapters.memory import MemoryStore
from relayq.adapters.store.directory import DirectoryStore
from relayq.adapters.store.rows import PART_BYTES
from relayq.adapters.store.sqlite import SqliteStore
from relayq.ports import MessageStore, StoreAddress
from tests.contract.store.couchbase_factory import CouchbaseFactory
from tests.contract.store.mongodb_factory import MongoDbFactory
from tests.contract.store.redis_factory import RedisFactory
from tests.contract.store.s3_factory import S3Factory
from tests.contract.store.sql_factories import MySqlFactory, PostgreSqlFactory

PATIENCE = 90.0  # seconds; nothing waits that long unless it is broken


class StoreFactory(Protocol):
    """One adapter over one storage of its own.

    Attributes:
        can_compress: `make` heeds ``compress``.
        can_split: `make` heeds ``part_bytes``: larger bodies become several entries.
        can_expire: Entries whose time has passed go away by themselves, or by `MessageStore.sweep`.
    """

    can_compress: bool
    can_split: bool
    can_expire: bool

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        """A new store object on this storage; ``part_bytes`` replaces the largest size of one entry."""
        ...

    def make_unreachable(self) -> MessageStore:
        """A store object whose server, folder or file cannot be used, and which finds that out soon."""
        ...

    async def put_foreign(self, key: str, value: bytes) -> None:
        """Put an entry there as another program does: not compressed, no expiry. ``key`` is plain ASCII."""
        ...

    async def damage(self, key: str) -> None:
        """Break the entry of ``key``: cut its stored octets short, or remove one of its parts if it has some."""
        ...

    async def count(self) -> int:
        """How many entries the storage has, parts counted each."""
        ...

    async def close(self) -> None:
        """Remove the storage; the stores are closed."""
        ...


class MemoryFactory:
    """The store in memory."""

    can_compress = False
    can_split = False
    can_expire = True

    def __init__(self) -> None:
        self._store = MemoryStore()

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        del compress, part_bytes
        return self._store

    def make_unreachable(self) -> MessageStore:
        store = MemoryStore()
        store.is_down = True
        return store

    async def put_foreign(self, key: str, value: bytes) -> None:
        self._store.bodies[key] = value

    async def damage(self, key: str) -> None:
        self._store.damage(key)

    async def count(self) -> int:
        return len(self._store.bodies)

    async def close(self) -> None:
        """Nothing outlives the test."""


class DirectoryFactory:
    """A folder per test."""

    can_compress = True
    can_split = False
    can_expire = True

    def __init__(self, folder: Path) -> None:
        self._root = folder / "bodies"

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        del part_bytes
        return DirectoryStore(address("directory", self._root, compress=compress))

    def make_unreachable(self) -> MessageStore:
        obstacle = self._root.with_name("obstacle")
        obstacle.touch()
        return DirectoryStore(address("directory", obstacle / "bodies"))

    async def put_foreign(self, key: str, value: bytes) -> None:
        self._root.mkdir(exist_ok=True)
        (self._root / key).write_bytes(value)

    async def damage(self, key: str) -> None:
        [path] = self._root.rglob(f"{key}.gz")
        status = path.stat()
        os.truncate(path, status.st_size // 2)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    async def count(self) -> int:
        files = [path for path in self._root.rglob("*") if path.is_file()]
        assert not [path for path in files if path.name.startswith(".tmp-")]
        bodies = [path for path in files if ".expire" not in path.parts]
        markers = [path for path in files if ".expire" in path.parts]
        assert len(markers) <= len(bodies)
        return len(bodies)

    async def close(self) -> None:
        """The folder goes with the test."""


class SqliteFactory:
    """A file per test."""

    can_compress = True
    can_split = True
    can_expire = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "bodies.db"

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        return SqliteStore(
            address("sqlite", self._path, compress=compress), threads=2, part_bytes=part_bytes or PART_BYTES
        )

    def make_unreachable(self) -> MessageStore:
        obstacle = self._path.with_name("obstacle")
        obstacle.write_bytes(b"no database " * 100)
        return SqliteStore(address("sqlite", obstacle))

    async def put_foreign(self, key: str, value: bytes) -> None:
        store = self.make()
        await store.probe()
        await store.close()
        self._execute("INSERT INTO messages (id, value) VALUES (?, ?)", key, value)

    async def damage(self, key: str) -> None:
        if not self._execute("DELETE FROM messages WHERE id = ?", f"{key}.part1"):
            self._execute("UPDATE messages SET value = substr(value, 1, size / 2), size = size / 2 WHERE id = ?", key)

    async def count(self) -> int:
        with contextlib.closing(sqlite3.connect(self._path)) as connection:
            count: int = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        return count

    def _execute(self, statement: str, *values: object) -> int:
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            return connection.execute(statement, values).rowcount

    async def close(self) -> None:
        """The file goes with the test's folder."""


def address(engine: str, path: Path, *, compress: bool = False) -> StoreAddress:
    """Address of a store in the file system."""
    return StoreAddress(engine=engine, scheme=engine, path=str(path), compress=compress)


# Name → factory and marks. A factory is made inside the running loop.
ADAPTERS: dict[str, tuple[Callable[[pytest.FixtureRequest], StoreFactory], tuple[pytest.MarkDecorator, ...]]] = {
    "directory": (lambda request: DirectoryFactory(request.getfixturevalue("tmp_path")), ()),
    "sqlite": (lambda request: SqliteFactory(request.getfixturevalue("tmp_path")), ()),
    "postgresql": (
        lambda request: PostgreSqlFactory(request.getfixturevalue("postgresql").address),
        (pytest.mark.server,),
    ),
    "mariadb": (lambda request: MySqlFactory(request.getfixturevalue("mariadb").address), (pytest.mark.server,)),
    "redis": (lambda request: RedisFactory(request.getfixturevalue("redis").address), (pytest.mark.server,)),
    "mongodb": (
        lambda request: MongoDbFactory(request.getfixturevalue("secantus").port),
        (pytest.mark.server,),
    ),
    "s3": (lambda request: S3Factory(request.getfixturevalue("moto")), (pytest.mark.server,)),
    "couchbase": (lambda _request: CouchbaseFactory(), ()),
    "memory": (lambda _request: MemoryFactory(), ()),
}


@pytest.fixture(params=[pytest.param(make, id=name, marks=marks) for name, (make, marks) in ADAPTERS.items()])
async def factory(request: pytest.FixtureRequest) -> AsyncIterator[StoreFactory]:
    """The adapter under test."""
    factory: StoreFactory = request.param(request)
    yield factory
    await factory.close()


class Bench:
    """Makes stores and closes them at the end."""

    def __init__(self, factory: StoreFactory) -> None:
        self.factory = factory
        self._stores: list[MessageStore] = []

    def open(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        """Another store object on the same storage."""
        return self._keep(self.factory.make(compress=compress, part_bytes=part_bytes))

    def open_unreachable(self) -> MessageStore:
        """A store object on no storage."""
        return self._keep(self.factory.make_unreachable())

    def _keep(self, store: MessageStore) -> MessageStore:
        self._stores.append(store)
        return store

    async def close(self) -> None:
        """Close what was opened, twice: that has to be fine."""
        for store in self._stores:
            await store.close()
            await store.close()


@pytest.fixture
async def bench(factory: StoreFactory) -> AsyncIterator[Bench]:
    """Stores of the adapter under test."""
    bench = Bench(factory)
    yield bench
    await bench.close()
