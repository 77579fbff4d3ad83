"""Downloads in a message store, for other workers and after a restart (``download-cache``, spec responsive.md 10).

An entry is a line of JSON, that says what the rest is and how long it is fresh, and the body. It only ever saves
a request: whatever is wrong with the store or an entry means that it is not there.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import msgspec

from relayq.compose.responsive import Resource
from relayq.delivery.bodies import Brake
from relayq.delivery.download_cache import Request
from relayq.delivery.store_keeper import StoreKeeper
from relayq.ports import Clock, Fetched, MessageStore, Observer, StoreError

TIMEOUT = 2.0
"""Seconds one operation may take: a store slower than that is no gain."""
MAX_SAVING = 32
"""Entries being written at the same time; beyond that none is kept, because each holds its body in memory."""
COMPONENT = "download-cache"


class _Head(msgspec.Struct, frozen=True):
    """First line of an entry."""

    url: str
    max_bytes: int
    is_start: bool
    fresh_until: float
    content_type: str | None = None
    content_disposition: str | None = None


class DownloadStore:
    """Entries by request."""

    def __init__(self, store: MessageStore, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._reading = Brake(clock)
        self._writing = Brake(clock)
        self._keeper = StoreKeeper(store, TIMEOUT, clock, observer, COMPONENT)
        self._saving: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to look after the store."""
        self._keeper.start()

    async def close(self) -> None:
        """Finish what is being written, and close the store."""
        await self._keeper.close()
        if self._saving:
            await asyncio.wait(self._saving)
        await self._store.close()

    async def load(self, request: Request) -> Fetched | None:
        """A fresh entry, ``None`` without one."""
        if self._reading.is_on:
            return None
        try:
            async with asyncio.timeout(TIMEOUT):
                entry = await self._store.load(_key(request))
        except (TimeoutError, StoreError) as error:
            if self._reading.failed():
                self._observer.warn(COMPONENT, f"not read for a while: {str(error) or 'no answer in time'}")
            return None
        self._reading.succeeded()
        return None if entry is None else self._decode(request, entry)

    def save(self, request: Request, fetched: Fetched, seconds: float) -> None:
        """Keep a resource for some time; does not wait."""
        if seconds < 1 or self._writing.is_on or len(self._saving) >= MAX_SAVING:
            return
        task = asyncio.create_task(self._save(request, fetched.resource, seconds))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def _save(self, request: Request, resource: Resource, seconds: float) -> None:
        expire_at = self._clock.now() + timedelta(seconds=seconds)
        head = _Head(
            request.url,
            request.max_bytes,
            request.is_start_enough,
            expire_at.timestamp(),
            resource.content_type,
            resource.content_disposition,
        )
        entry = b"\n".join((msgspec.json.encode(head), resource.body))
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._store.save(_key(request), entry, expire_at)
        except (TimeoutError, StoreError) as error:
            if self._writing.failed():
                self._observer.warn(COMPONENT, f"not written for a while: {str(error) or 'no answer in time'}")
        except Exception as error:  # the top of a task
            self._observer.crash(COMPONENT, error)
        else:
            self._writing.succeeded()

    def _decode(self, request: Request, entry: bytes) -> Fetched | None:
        line, _, body = entry.partition(b"\n")
        try:
            head = msgspec.json.decode(line, type=_Head)
        except msgspec.MsgspecError:
            return None
        seconds = head.fresh_until - self._clock.now().timestamp()
        if Request(head.url, head.max_bytes, head.is_start) != request or seconds <= 0 or len(body) > request.max_bytes:
            return None
        return Fetched(Resource(body, head.content_type, head.content_disposition), seconds)


def _key(request: Request) -> str:
    what = f"{request.max_bytes} {request.is_start_enough:d} {request.url}"
    return f"relayq-download-{hashlib.sha256(what.encode()).hexdigest()}"
