"""Bodies as documents of a MongoDB collection, laid out as MailerQ does (spec storage.md 7).

A body that is too large for one document has a master, which names its parts in order. Parts are written before the
master and removed after it: what is interrupted leaves documents nobody reads, which expire.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bson import CodecOptions, DatetimeConversion
from bson.errors import BSONError, InvalidBSON
from pymongo import AsyncMongoClient, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError
from pymongo.uri_parser import split_options

from relayq.adapters.store.encoding import join, pack_aside, part_keys, split, unpack_aside
from relayq.adapters.store.errors import BadOptionError
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError
from relayq.ports.store import LARGEST_BODY_BYTES, show_host

Document = dict[str, Any]

PART_BYTES = 15 * 1024 * 1024
"""The server takes documents of 16 MiB."""
MOST_PARTS = 100_000
READ_AGAIN_SECONDS = 0.1

_DEFAULTS = {
    "appName": "relayq",
    # A server that is down is found out well within `storage-timeout`; the driver itself would try for 30 s.
    "serverSelectionTimeoutMS": "5000",
    "connectTimeoutMS": "5000",
    # What was confirmed survives the loss of any one server.
    "w": "majority",
    "journal": "true",
}
# A text put there by another program is a body too, whatever octets it has.
_CODEC: CodecOptions[Document] = CodecOptions(
    unicode_decode_error_handler="surrogateescape",
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,  # dates that Python does not know do not matter
)
_CONTENT = {"value": 1, "encoding": 1, "keys": 1, "size": 1, "offset": 1, "expire": 1}
_PARTS = {"keys": 1}
_LONGEST_REASON = 300


class MongoDbStore:
    """`relayq.ports.MessageStore` on a collection.

    Loads that have to wait for their turn are answered together, by one query for up to ``maxQuerySize`` keys.
    """

    def __init__(self, address: StoreAddress, threads: int = 1, *, part_bytes: int = PART_BYTES) -> None:
        """Begin without a connection.

        Raises:
            BadOptionError: One of the driver's options is none, or has a value it does not take.
        """
        self._address = address
        self._client = _open_client(address)
        self._part_bytes = part_bytes
        self._slots = asyncio.Semaphore(threads)
        self._has_index = False
        self._batch: _Batch | None = None

    async def load(self, key: str) -> bytes | None:
        """Return the body of ``key``."""
        document = await self._read(key)
        for _ in range(1, self._address.read_attempts):
            if document is not None:
                break
            await asyncio.sleep(READ_AGAIN_SECONDS)
            document = await self._read(key)
        if document is None:
            return None
        try:
            value = _octets(document) if document.get("keys") is None else await self._read_parts(document)
        except StoreDamagedError:
            if _has_expired(document):  # the server removes what has expired in any order, parts may go first
                return None
            raise
        encoding = document.get("encoding")
        if not isinstance(encoding, str | None):
            raise StoreDamagedError("the encoding is no text")
        return await unpack_aside(value, encoding)

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep a body; most servers of a replica set have it on their disks when this returns."""
        value, encoding = await pack_aside(body, compress=self._address.compress)
        parts = split(value, self._part_bytes)
        ids = part_keys(key, len(parts))
        times = {"expire": expire_at, "modified": datetime.now(UTC)}
        master: Document = {"encoding": encoding, **times}
        master.update({"keys": ids, "size": len(value)} if parts else {"value": value})
        async with self._collection() as collection:
            await self._ensure_index(collection)
            offset = 0
            for part_id, part in zip(ids, parts, strict=True):
                document = {"parent": key, "value": part, "offset": offset, **times}
                await collection.replace_one({"_id": part_id}, document, upsert=True)
                offset += len(part)
            before = await collection.find_one_and_replace({"_id": key}, master, projection=_PARTS, upsert=True)
            await _delete_all(collection, set(_part_ids(before)).difference(ids))

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Move an expiry to later."""
        async with self._collection() as collection:
            master = await collection.find_one({"_id": key}, _PARTS)
            if master is not None:
                chosen = {"_id": {"$in": [key, *_part_ids(master)]}, "expire": {"$lt": expire_at}}
                await collection.update_many(chosen, {"$set": {"expire": expire_at}})

    async def delete(self, key: str) -> None:
        """Remove an entry, the master first."""
        async with self._collection() as collection:
            # What a power failure brings back expires anyway: not worth waiting for a disk.
            quick = collection.with_options(write_concern=WriteConcern(w=1))
            await _delete_all(quick, _part_ids(await quick.find_one_and_delete({"_id": key}, _PARTS)))

    async def sweep(self, now: datetime) -> bool:
        """Leave it to the server, which has an index for it."""
        del now
        return False

    async def probe(self) -> None:
        """Look for a random key."""
        async with self._collection() as collection:
            await collection.find_one({"_id": secrets.token_hex(16)}, _CONTENT)

    async def close(self) -> None:
        """End the connections."""
        await self._client.close()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, key: str) -> Document | None:
        """A document; where that has to wait for its turn, together with others that do."""
        if self._slots.locked():
            batch = self._joinable_batch()
            with contextlib.suppress(StoreDamagedError):  # which of them it is cannot be told
                return await batch.read(key)
        async with self._collection() as collection:
            return await collection.find_one({"_id": key}, _CONTENT)

    def _joinable_batch(self) -> _Batch:
        batch = self._batch
        if batch is None or not batch.is_open or len(batch.waiting) == self._address.max_query_size:
            batch = self._batch = _Batch(self._collection)
        return batch

    async def _read_parts(self, master: Document) -> bytes:
        """The stored octets that a master stands for.

        Raises:
            StoreDamagedError: A part is gone, lies elsewhere, or is no part.
        """
        ids, size = _part_ids(master), master.get("size")
        if ids != master["keys"] or len(ids) > MOST_PARTS or not isinstance(size, int):
            raise StoreDamagedError("the keys or the size of the parts make no sense")
        parts: list[bytes | None] = []
        offset = 0
        async with self._collection() as collection:
            for part_id in ids:  # one by one: together they can be larger than what may be on its way at once
                part = await collection.find_one({"_id": part_id}, _CONTENT)
                if part is not None and part.get("offset") != offset:
                    raise StoreDamagedError(f"part {len(parts)} does not begin at {offset}")
                parts.append(None if part is None else _octets(part))
                offset += len(parts[-1] or b"")
                if offset > LARGEST_BODY_BYTES:
                    break
        return join(parts, size)

    # --- the client ---------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _collection(self) -> AsyncIterator[AsyncCollection[Document]]:
        """Wait for a turn; what goes wrong becomes an error of the port."""
        async with self._slots:
            try:
                yield self._client[self._address.database].get_collection(self._address.collection, _CODEC)
            except InvalidBSON as error:
                raise StoreDamagedError(f"mongodb: {_reason(error)}") from None
            except (PyMongoError, BSONError, OSError) as error:
                raise StoreUnavailableError(f"mongodb: {_reason(error)}") from None

    async def _ensure_index(self, collection: AsyncCollection[Document]) -> None:
        """Let the server remove what has expired; whoever made such an index before us has decided when."""
        if self._has_index:
            return
        indexes = (await collection.index_information()).values()
        if not any(index["key"] == [("expire", 1)] and "expireAfterSeconds" in index for index in indexes):
            await collection.create_index("expire", expireAfterSeconds=0)
        self._has_index = True


class _Batch:
    """Loads that are answered by one query, as soon as it is their turn.

    A query nobody waits for any more is given up, so that a server that does not answer holds no turn for ever.

    Attributes:
        waiting: Who waits for what.
        is_open: Others can still join.
    """

    def __init__(self, turn: Callable[[], AbstractAsyncContextManager[AsyncCollection[Document]]]) -> None:
        self.waiting: dict[asyncio.Future[Document | None], str] = {}
        self.is_open = True
        self._task = asyncio.create_task(self._run(turn))

    async def read(self, key: str) -> Document | None:
        """The document of a key; raises what the query raised."""
        answer: asyncio.Future[Document | None] = asyncio.get_running_loop().create_future()
        self.waiting[answer] = key
        try:
            return await answer
        finally:
            del self.waiting[answer]
            if not self.waiting:
                self.is_open = False
                self._task.cancel()

    async def _run(self, turn: Callable[[], AbstractAsyncContextManager[AsyncCollection[Document]]]) -> None:
        try:
            async with turn() as collection:
                self.is_open = False
                chosen = {"_id": {"$in": list(set(self.waiting.values()))}}
                found = {document["_id"]: document async for document in collection.find(chosen, _CONTENT)}
        except Exception as error:  # whatever it is, they wait for it
            for answer in self.waiting:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for answer, key in self.waiting.items():
                if not answer.done():
                    answer.set_result(found.get(key))


def _octets(document: Document) -> bytes:
    """What a document holds; a text is what other programs may have put there.

    Raises:
        StoreDamagedError: Neither octets nor a text.
    """
    value = document.get("value")
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes):
        raise StoreDamagedError("the document has no value")
    return bytes(value)  # other subtypes of binary data are classes of their own


def _has_expired(document: Document) -> bool:
    expire_at = document.get("expire")
    return isinstance(expire_at, datetime) and expire_at <= datetime.now(UTC)


def _part_ids(master: Document | None) -> list[str]:
    """Ids of the parts a document names, in order."""
    ids = None if master is None else master.get("keys")
    return [part_id for part_id in ids if isinstance(part_id, str)] if isinstance(ids, list) else []


async def _delete_all(collection: AsyncCollection[Document], ids: Iterable[str]) -> None:
    if chosen := list(ids):
        await collection.delete_many({"_id": {"$in": chosen}})


def _options(address: StoreAddress) -> str:
    """What a connection string has behind its question mark.

    Raises:
        BadOptionError: The driver does not take an option of the address.
    """
    given = {name.lower(): value for name, value in address.parameters}
    options = [*address.parameters, *((name, value) for name, value in _DEFAULTS.items() if name.lower() not in given)]
    if address.replica_set is not None:
        options.append(("replicaSet", address.replica_set))
    has_user_here = given.get("authmechanism", "SCRAM").upper().startswith("SCRAM")  # others have theirs elsewhere
    if address.username is not None and has_user_here and "authsource" not in given and address.scheme == "mongodb":
        # As in MongoDB's own connection strings, where the path is the database of the user unless told otherwise.
        # With `mongodb+srv`, the DNS tells.
        options.append(("authSource", address.database))
    pairs = [f"{quote(name, safe='')}={quote(value, safe=',:')}" for name, value in options]
    for pair in pairs:
        _check(pair, f"its option {pair.partition('=')[0]} is unknown to the driver, or has a value it does not take")
    _check("&".join(pairs), "the driver does not take its options together")
    return "&".join(pairs)


def _check(query: str, otherwise: str) -> None:
    """Refuse what the client itself only warns of; it quotes values, some of which are secret."""
    try:
        split_options(query, validate=True, warn=False)
    except OSError as error:
        raise BadOptionError(f"a store at mongodb:// cannot be used: {otherwise} ({error.strerror})") from None
    except (PyMongoError, ValueError, TypeError):
        raise BadOptionError(f"a store at mongodb:// cannot be used: {otherwise}") from None


def _open_client(address: StoreAddress) -> AsyncMongoClient[Document]:
    """The driver, which connects with the first operation.

    Raises:
        BadOptionError: It does not take what the address says.
    """
    hosts = ",".join(show_host(host, port) for host, port in address.hosts)
    place = f"{address.scheme}://{hosts}/?{_options(address)}"
    try:
        return AsyncMongoClient(place, username=address.username, password=address.password)
    except (PyMongoError, OSError, ValueError) as error:
        raise BadOptionError(f"a store at mongodb:// cannot be used: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Its first words; the rest repeats them, or describes the topology at length."""
    text = str(error).partition(", Timeout:")[0].partition(", full error:")[0].partition(" (configured timeouts:")[0]
    return " ".join(text.split())[:_LONGEST_REASON] or type(error).__name__
