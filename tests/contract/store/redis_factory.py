"""Redis for the contract suite: a prefix per test."""

from __future__ import annotations

import secrets
from dataclasses import replace

from relayq.adapters.store.redis import RedisStore
from relayq.config.store_address import parse_store_address
from relayq.ports import MessageStore
from tests.support.ports import free_port


class RedisFactory:
    """Keys with a prefix of their own."""

    can_compress = True
    can_split = False
    can_expire = True

    def __init__(self, address: str) -> None:
        self._address = replace(parse_store_address(address), prefix=f"{secrets.token_hex(4)}:")
        self._admin = RedisStore(self._address)

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        del part_bytes
        return RedisStore(replace(self._address, compress=compress), 2)

    def make_unreachable(self) -> MessageStore:
        return RedisStore(replace(self._address, hosts=(("127.0.0.1", free_port()),)))

    async def put_foreign(self, key: str, value: bytes) -> None:
        await self._admin._ask(("HSET", self._address.prefix + key, "value", value))

    async def damage(self, key: str) -> None:
        name = self._address.prefix + key
        [value] = await self._admin._ask(("HGET", name, "value"))
        await self._admin._ask(("HSET", name, "value", value[: len(value) // 2]))

    async def count(self) -> int:
        return len(await self._names())

    async def _names(self) -> list[bytes]:
        [names] = await self._admin._ask(("KEYS", f"{self._address.prefix}*"))
        return [*names]

    async def close(self) -> None:
        for name in await self._names():
            await self._admin._ask(("DEL", name))
        await self._admin.close()
