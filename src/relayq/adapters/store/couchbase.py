"""Bodies as JSON documents in the default collection of a Couchbase bucket (spec storage.md 6).

The fields are those of MongoDB's documents. The client has threads of its own and a time limit for every operation; its
answers do not expect that nobody waits for them any more, so operations are left to end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec
import pybase64
from acouchbase.cluster import AsyncCluster
from couchbase.auth import PasswordAuthenticator
from couchbase.constants import FMT_JSON
from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import CouchbaseException, DocumentNotFoundException
from couchbase.options import ClusterOptions, ClusterTimeoutOptions, GetOptions, TouchOptions, UpsertOptions
from couchbase.transcoder import Transcoder

from relayq.adapters.store.encoding import join, pack_aside, part_keys, split, unpack_aside
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError
from relayq.ports.store import LARGEST_BODY_BYTES, show_host

PART_BYTES = 14 * 1024 * 1024
"""The server takes documents of 20 MiB, and base64 makes 15 MiB into exactly that, without anything around it."""
MOST_PARTS = 100_000
LONGEST_ID_BYTES = 246  # Couchbase, "Data model": keys of 250 octets, some of them for the name of the collection
CONNECT_TIMEOUT = timedelta(seconds=5)
OPERATION_TIMEOUT = timedelta(seconds=15)
_LONGEST_REASON = 300
_LONGEST_EXPIRY_SECONDS = 50 * 365 * 24 * 3600  # the server counts seconds since 1970 in 32 bits

T = TypeVar("T")


class _Document(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is stored under one id.

    Attributes:
        value: The body or a part of it: a text, or in base64.
        base64: Which of them.
        encoding: As `relayq.adapters.store.encoding` has it.
        keys: Ids of the parts in order, instead of a value.
        size: Octets of all parts together.
        parent: Id of the master of a part.
        offset: Where a part begins.
        expire: Unix seconds; the server goes by the expiry of the document, this is for people.
        modified: Unix seconds.
    """

    value: str | None = None
    base64: bool = False
    encoding: str | None = None
    keys: list[str] | None = None
    size: int | None = None
    parent: str | None = None
    offset: int | None = None
    expire: int | None = None
    modified: int | None = None


class _AsStored(Transcoder):  # type: ignore[misc]  # the client has no types
    """Octets of JSON, neither decoded nor encoded by the client; whatever another program said they are."""

    def encode_value(self, value: bytes) -> tuple[bytes, int]:
        return value, FMT_JSON

    def decode_value(self, value: bytes, flags: int) -> bytes:
        del flags
        return value


_AS_STORED = _AsStored()
_DECODER = msgspec.json.Decoder(_Document)


class Found(Protocol):
    """What the client found."""

    @property
    def value(self) -> bytes:
        """What it has in it."""
        ...

    @property
    def expiry_time(self) -> datetime | None:
        """When it expires, if it was asked for: without a zone, and in ours."""
        ...


class Collection(Protocol):
    """What is used of the client."""

    async def get(self, key: str, *opts: GetOptions) -> Found:
        """A document, or a part of it, with or without its expiry."""
        ...

    async def upsert(self, key: str, value: bytes, *opts: UpsertOptions) -> object:
        """Write a document."""
        ...

    async def remove(self, key: str) -> object:
        """Remove a document."""
        ...

    async def touch(self, key: str, expiry: timedelta, *opts: TouchOptions) -> object:
        """Give a document another expiry."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """An open connection.

    Attributes:
        collection: Where the documents are.
        close: Ends it.
    """

    collection: Collection
    close: Callable[[], Awaitable[None]]


class CouchbaseStore:
    """`relayq.ports.MessageStore` on a bucket."""

    def __init__(
        self,
        address: StoreAddress,
        threads: int = 1,
        *,
        part_bytes: int = PART_BYTES,
        connect: Callable[[StoreAddress], Coroutine[Any, Any, Link]] | None = None,
    ) -> None:
        self._address = address
        self._part_bytes = part_bytes
        self._connect = connect or open_link
        self._slots = asyncio.Semaphore(threads)
        self._link: asyncio.Task[Link] | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def load(self, key: str) -> bytes | None:
        """Return the body of ``key``."""
        found = await self._run(lambda collection: self._load(collection, key))
        return None if found is None else await unpack_aside(*found)

    async def _load(self, collection: Collection, key: str) -> tuple[bytes, str | None] | None:
        document = await _fetch(collection, document_id(key))
        if document is None:
            return None
        if document.keys is None:
            return _octets(document), document.encoding
        try:
            return await _load_parts(collection, document.keys, document.size), document.encoding
        except StoreDamagedError:
            if document.expire is not None and document.expire <= time.time():
                return None  # parts were written before it, so they go before it
            raise

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep a body; most servers that have the document have it in memory and one on its disk when this returns."""
        value, encoding = await pack_aside(body, compress=self._address.compress)
        await self._run(lambda collection: self._save(collection, key, value, encoding, expire_at))

    async def _save(self, collection: Collection, key: str, value: bytes, encoding: str, expire_at: datetime) -> None:
        parts = split(value, self._part_bytes)
        ids = [document_id(part_key) for part_key in part_keys(key, len(parts))]
        expire, now, master_id = int(expire_at.timestamp()), int(time.time()), document_id(key)
        options = UpsertOptions(
            expiry=_remaining(expire_at),
            durability=ServerDurability(DurabilityLevel.MAJORITY_AND_PERSIST_TO_ACTIVE),
            timeout=OPERATION_TIMEOUT,
            transcoder=_AS_STORED,
        )
        before = await _part_ids(collection, master_id)
        offset = 0
        for part_id, part in zip(ids, parts, strict=True):
            document = _Document(**_packed(part), parent=master_id, offset=offset, expire=expire, modified=now)
            await collection.upsert(part_id, msgspec.json.encode(document), options)
            offset += len(part)
        content = {"keys": ids, "size": len(value)} if parts else _packed(value)
        master = _Document(**content, encoding=encoding, expire=expire, modified=now)
        await collection.upsert(master_id, msgspec.json.encode(master), options)
        await _remove(collection, [part_id for part_id in before if part_id not in ids])

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Move an expiry to later; the field of that name, which nobody goes by, stays."""
        await self._run(lambda collection: self._refresh(collection, document_id(key), expire_at))

    async def _refresh(self, collection: Collection, master_id: str, expire_at: datetime) -> None:
        for one in [*await _part_ids(collection, master_id), master_id]:
            with contextlib.suppress(DocumentNotFoundException):
                found = await collection.get(one, _options(project=["parent"], with_expiry=True))
                planned = found.expiry_time
                if planned is not None and planned.timestamp() < expire_at.timestamp():
                    await collection.touch(one, _remaining(expire_at), TouchOptions(timeout=OPERATION_TIMEOUT))

    async def delete(self, key: str) -> None:
        """Remove an entry, the master first."""
        await self._run(lambda collection: self._delete(collection, document_id(key)))

    async def _delete(self, collection: Collection, master_id: str) -> None:
        ids = await _part_ids(collection, master_id)
        await _remove(collection, [master_id, *ids])

    async def sweep(self, now: datetime) -> bool:
        """Leave it to the server."""
        del now
        return False

    async def probe(self) -> None:
        """Look for a random key."""
        await self.load(secrets.token_hex(16))

    async def close(self) -> None:
        """Wait for what still runs, which has a limit, and end the connections."""
        if self._running:
            await asyncio.wait(self._running)
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(StoreUnavailableError):
                await (await link).close()

    async def _run(self, call: Callable[[Collection], Coroutine[Any, Any, T]]) -> T:
        """Wait for a turn and for a connection; a caller who leaves does not disturb the client."""
        async with self._slots:
            task = asyncio.create_task(self._within(call))
            self._running.add(task)
            task.add_done_callback(self._forget)
            return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be waiting for it

    async def _within(self, call: Callable[[Collection], Coroutine[Any, Any, T]]) -> T:
        if self._link is None:
            self._link = asyncio.create_task(_translated(self._connect(self._address)))
        link = self._link
        try:
            collection = (await asyncio.shield(link)).collection
        except StoreUnavailableError:
            if self._link is link:
                self._link = None  # the next operation tries again
            raise
        return await _translated(call(collection))


async def _translated(call: Coroutine[Any, Any, T]) -> T:
    """Errors of the client as those of the port."""
    try:
        return await call
    except (CouchbaseException, OSError, RuntimeError) as error:
        raise StoreUnavailableError(f"couchbase: {_reason(error)}") from None


async def open_link(address: StoreAddress, patience: timedelta = CONNECT_TIMEOUT) -> Link:
    """Connect to the bucket; from then on the client reconnects by itself."""
    hosts = ",".join(show_host(host, port) for host, port in address.hosts)
    options = f"?{urlencode(address.parameters)}" if address.parameters else ""
    timeouts = ClusterTimeoutOptions(connect_timeout=patience, bootstrap_timeout=patience, kv_timeout=OPERATION_TIMEOUT)
    login = PasswordAuthenticator(address.username or address.database, address.password or "")
    cluster = await AsyncCluster.connect(
        f"{address.scheme}://{hosts}{options}", ClusterOptions(login, timeout_options=timeouts)
    )
    try:
        bucket = cluster.bucket(address.database)
        await bucket.on_connect()
    except BaseException:
        await cluster.close()
        raise
    return Link(bucket.default_collection(), cluster.close)


def document_id(key: str) -> str:
    """Id of the document of a key: the key, or its SHA-256 where that is too long for the server."""
    octets = key.encode("utf-8")
    return key if len(octets) <= LONGEST_ID_BYTES else f"sha256-{hashlib.sha256(octets).hexdigest()}"


def _options(**options: object) -> GetOptions:
    return GetOptions(transcoder=_AS_STORED, timeout=OPERATION_TIMEOUT, **options)


async def _fetch(collection: Collection, one: str) -> _Document | None:
    """A document.

    Raises:
        StoreDamagedError: It is none of ours, nor one another program wrote like ours.
    """
    try:
        found = await collection.get(one, _options())
    except DocumentNotFoundException:
        return None
    return _decode(found.value)


async def _load_parts(collection: Collection, ids: list[str], size: int | None) -> bytes:
    """The stored octets that a master stands for.

    Raises:
        StoreDamagedError: A part is gone, lies elsewhere, or is no part.
    """
    if size is None or len(ids) > MOST_PARTS:
        raise StoreDamagedError("the keys or the size of the parts make no sense")
    parts: list[bytes | None] = []
    offset = 0
    for part_id in ids:
        part = await _fetch(collection, part_id)
        if part is not None and part.offset != offset:
            raise StoreDamagedError(f"part {len(parts)} does not begin at {offset}")
        parts.append(None if part is None else _octets(part))
        offset += len(parts[-1] or b"")
        if offset > LARGEST_BODY_BYTES:
            break
    return join(parts, size)


def _decode(value: bytes) -> _Document:
    try:
        return _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreDamagedError(f"not a document with a body: {error}") from None


async def _part_ids(collection: Collection, master_id: str) -> list[str]:
    """Ids of the parts of a document; of one that makes no sense, none."""
    with contextlib.suppress(DocumentNotFoundException, StoreDamagedError):
        return _decode((await collection.get(master_id, _options(project=["keys"]))).value).keys or []
    return []


async def _remove(collection: Collection, ids: list[str]) -> None:
    for one in ids:
        with contextlib.suppress(DocumentNotFoundException):
            await collection.remove(one)


def _packed(value: bytes) -> dict[str, Any]:
    """Fields for octets: a text if they are one that JSON does not blow up, else base64."""
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode("utf-8")
        if len(msgspec.json.encode(text)) <= len(value) * 4 // 3 + 4:
            return {"value": text}
    return {"value": pybase64.b64encode(value).decode("ascii"), "base64": True}


def _octets(document: _Document) -> bytes:
    if document.value is None:
        raise StoreDamagedError("the document has no value")
    if not document.base64:
        return document.value.encode("utf-8")
    try:
        return pybase64.b64decode(document.value, validate=True)
    except ValueError:
        raise StoreDamagedError("the value is not in base64") from None


def _remaining(expire_at: datetime) -> timedelta:
    """Time until then, as the client wants it: whole seconds, of which none would be for ever."""
    seconds = int(expire_at.timestamp() - time.time())
    return timedelta(seconds=min(max(seconds, 1), _LONGEST_EXPIRY_SECONDS))


def _reason(error: Exception) -> str:
    """Its kind and its message; the whole text has the context in it, keys and addresses."""
    kind = type(error).__name__.removesuffix("Exception")
    message = getattr(error, "message", None) or str(error)
    return " ".join(f"{kind}: {message}".split())[:_LONGEST_REASON]
