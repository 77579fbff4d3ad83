"""Adapters the contract suite of the message stores runs against, and what its tests share.

An adapter is one entry of `ADAPTERS`: a function that takes pytest's request and returns a `StoreFactory` for storage
of its own (a folder, a database, a bucket, a prefix).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import pytest

from relayq.adapters.memory import MemoryStore
from relayq.ports import MessageStore

PATIENCE = 30.0  # seconds; nothing waits that long unless it is broken


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


# Name → factory and marks. A factory is made inside the running loop.
ADAPTERS: dict[str, tuple[Callable[[pytest.FixtureRequest], StoreFactory], tuple[pytest.MarkDecorator, ...]]] = {
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
