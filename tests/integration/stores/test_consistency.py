"""Bodies in parts while others write, read and remove them: whoever reads sees one of them whole, or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from relayq.adapters.store.mysql import MySqlStore
from relayq.adapters.store.postgresql import PostgreSqlStore
from relayq.adapters.store.sql import SqlStore
from relayq.config.store_address import parse_store_address
from tests.support.stores.databases import DatabaseServer

PATIENCE = 60.0
PART_BYTES = 1000
TURNS = 25
EXPIRE_AT = datetime.now(UTC) + timedelta(hours=1)
BODIES = [bytes([65 + number]) * size for number, size in enumerate((10, 1000, 1001, 4500, 9000, 2000))]

pytestmark = pytest.mark.server


@pytest.fixture(params=["postgresql", "mariadb"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SqlStore]:
    """A store that splits early, with as many connections as there are writers and readers."""
    server: DatabaseServer = request.getfixturevalue(request.param)
    engine = PostgreSqlStore if request.param == "postgresql" else MySqlStore
    store = engine(parse_store_address(server.address), 6, part_bytes=PART_BYTES)
    yield store
    await store.close()


async def rows_of(store: SqlStore) -> int:
    """How many rows there are."""
    [[count]] = await store._connections.run(lambda one: one.fetch("SELECT count(*) FROM messages WHERE 0 = ?", 0))
    return int(count)


async def test_nobody_sees_half_a_body(store: SqlStore) -> None:
    await store.delete("key")
    before = await rows_of(store)
    seen: set[bytes | None] = set()

    async def write(first: int) -> None:
        for turn in range(TURNS):
            await store.save("key", BODIES[(first + turn) % len(BODIES)], EXPIRE_AT)

    async def remove() -> None:
        for _ in range(TURNS):
            await store.delete("key")
            await store.refresh("key", EXPIRE_AT + timedelta(hours=1))

    async def read() -> None:
        while not done.is_set():
            seen.add(await store.load("key"))

    done = asyncio.Event()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as readers:
        readers.create_task(read())
        readers.create_task(read())
        async with asyncio.TaskGroup() as writers:
            writers.create_task(write(0))
            writers.create_task(write(3))
            writers.create_task(remove())
        done.set()
    assert seen <= {*BODIES, None}
    assert len(seen) > 2
    await store.delete("key")
    assert await rows_of(store) == before


async def test_sweepers_do_not_get_in_each_others_way(store: SqlStore) -> None:
    for number in range(60):
        await store.save(f"old-{number}", BODIES[number % len(BODIES)], datetime.now(UTC) - timedelta(hours=3))
    await store.save("new", BODIES[3], EXPIRE_AT)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(store.sweep(datetime.now(UTC)) for _ in range(6)))
    while await store.sweep(datetime.now(UTC)):
        pass
    assert [await store.load(f"old-{number}") for number in range(60)] == [None] * 60
    assert await store.load("new") == BODIES[3]
    await store.delete("new")
