"""The MongoDB adapter on SecantusDB: a database per test."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

from pymongo import AsyncMongoClient

from relayq.adapters.store.mongodb import PART_BYTES, MongoDbStore
from relayq.ports import MessageStore, StoreAddress
from tests.support.ports import free_port
from tests.support.stores.secantus import PRUNE


class MongoDbFactory:
    """A database per test."""

    can_compress = True
    can_split = True
    can_expire = True

    def __init__(self, port: int) -> None:
        self._address = mongodb_address(port)
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient("127.0.0.1", port)
        self.collection = self._client[self._address.database][self._address.collection]
        self._pruning = asyncio.create_task(self._prune())

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            await self._client.admin.command(PRUNE)

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        address = mongodb_address(self._address.hosts[0][1] or 0, database=self._address.database, compress=compress)
        return MongoDbStore(address, threads=2, part_bytes=part_bytes or PART_BYTES)

    def make_unreachable(self) -> MessageStore:
        return MongoDbStore(mongodb_address(free_port(), parameters=(("serverSelectionTimeoutMS", "1"),)))

    async def put_foreign(self, key: str, value: bytes) -> None:
        await self.collection.insert_one({"_id": key, "value": value})

    async def damage(self, key: str) -> None:
        if (await self.collection.delete_one({"_id": f"{key}.part1"})).deleted_count:
            return
        document = await self.collection.find_one({"_id": key})
        assert document is not None
        half = document["value"][: len(document["value"]) // 2]
        await self.collection.update_one({"_id": key}, {"$set": {"value": half}})

    async def count(self) -> int:
        return await self.collection.count_documents({})

    async def close(self) -> None:
        self._pruning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pruning
        await self._client.close()


def mongodb_address(
    port: int,
    *,
    database: str | None = None,
    compress: bool = False,
    parameters: tuple[tuple[str, str], ...] = (),
    read_attempts: int = 1,
    max_query_size: int | None = None,
) -> StoreAddress:
    """Address of a collection in a database that nobody else has."""
    return StoreAddress(
        engine="mongodb",
        scheme="mongodb",
        hosts=(("127.0.0.1", port),),
        database=database or f"test-{secrets.token_hex(6)}",
        collection="bodies",
        compress=compress,
        parameters=parameters,
        read_attempts=read_attempts,
        max_query_size=max_query_size,
    )
