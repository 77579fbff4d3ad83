"""What messages need from the web: asked for once, however many want it, and kept while it is fresh.

One request is under way for all who want the same thing, a few at a time for each host, and its end goes into the
cache, failure included (spec responsive.md 10). Those who wait may be cancelled; the request goes on for the others and
for the cache.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from relayq.compose.responsive import Download, DownloadFailure, Resource
from relayq.delivery.download_cache import DownloadCache, Request
from relayq.delivery.download_store import DownloadStore
from relayq.delivery.room import Room
from relayq.ports import Clock, DownloadError, Fetched, Fetcher, Observer

AT_A_TIME = 8
"""Requests of one message at the same time (spec responsive.md 10)."""
TO_A_HOST = 16
"""Requests to one host at the same time: enough for files made for each recipient, and bearable for a small server."""
ALTOGETHER = 64
FAILURE_SECONDS = 60.0
"""How long a failure is remembered."""
SECOND_TRY_SECONDS = 1.0
MESSAGE_OCTETS = 50 * 1024 * 1024
"""All downloads of a message in one round: more than a finished message may have."""
CACHE_OCTETS = 64 * 1024 * 1024
ROOM_OCTETS = 512 * 1024 * 1024
"""Downloads under way and not yet composed, of all messages, each counted as large as it may become."""
HOST_ROOM_OCTETS = ROOM_OCTETS // 3
"""The part of it that messages for one host may have: a slow one must not keep the others from theirs."""

_COMPONENT = "download"
_LOGIN = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)

Answer = Resource | DownloadFailure


class DownloadRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        max_bytes: Most octets of one resource.
        ttl: Longest time in seconds a resource is used again, whatever its server says.
    """

    max_bytes: int = 10 * 1024 * 1024
    ttl: float = 3600.0


class DownloadCounts(msgspec.Struct, kw_only=True):
    """What happened since the start.

    Attributes:
        requests: Requests that went out, second tries included.
        failures: Resources that could not be had.
        hits: Resources that were in the cache.
        shared: Resources that somebody else was already asking for.
        stored: Resources that the store had.
    """

    requests: int = 0
    failures: int = 0
    hits: int = 0
    shared: int = 0
    stored: int = 0


class Downloads:
    """Answers what plans of messages ask for.

    Attributes:
        counts: What happened so far.
    """

    def __init__(
        self,
        open_fetcher: Callable[[], Fetcher],
        rules: DownloadRules,
        clock: Clock,
        observer: Observer,
        store: DownloadStore | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            open_fetcher: Makes what gets things; called in a thread when something is wanted for the first time.
            rules: Settings.
            clock: Tells what is still fresh.
            observer: Told about internal errors.
            store: Keeps resources beyond this process.
        """
        self.counts = DownloadCounts()
        self._open_fetcher = open_fetcher
        self._rules = rules
        self._clock = clock
        self._observer = observer
        self._store = store
        self._cache = DownloadCache(CACHE_OCTETS)
        self._under_way: dict[Request, asyncio.Task[Answer]] = {}
        self._opening: asyncio.Task[Fetcher] | None = None
        self._retired: list[asyncio.Task[Fetcher]] = []
        self._altogether = asyncio.Semaphore(ALTOGETHER)
        self._hosts: dict[str, _Host] = {}
        self._room = Room(ROOM_OCTETS)

    def start(self) -> None:
        """Begin to look after the store."""
        if self._store is not None:
            self._store.start()

    def reconfigure(self, rules: DownloadRules, open_fetcher: Callable[[], Fetcher] | None = None) -> None:
        """Other rules from the next download on, and if ``open_fetcher`` is given another fetcher."""
        self._rules = rules
        if open_fetcher is not None:
            self._open_fetcher = open_fetcher
            if self._opening is not None:
                self._retired.append(self._opening)  # may be busy, so it is closed at the end
                self._opening = None

    async def close(self) -> None:
        """Give up what is under way and close everything. Idempotent."""
        tasks: list[asyncio.Task[Answer]] = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        retired, self._retired = self._retired, []
        if self._opening is not None:
            retired.append(self._opening)
            self._opening = None
        for opened in await asyncio.gather(*retired, return_exceptions=True):
            if not isinstance(opened, BaseException):
                await opened.close()
        if self._store is not None:
            await self._store.close()

    # --- what composing calls ---------------------------------------------------------------------------------------

    def known(self, downloads: Iterable[Download]) -> dict[Download, Answer] | None:
        """Answers without waiting; ``None`` when one of them has to be asked for."""
        found: dict[Download, Answer] = {}
        now = self._clock.monotonic()
        for download in downloads:
            answer = self._cache.get(Request.of(download, self._rules.max_bytes), now)
            if answer is None:
                return None
            found[download] = answer
        self.counts.hits += len(found)
        return found

    @asynccontextmanager
    async def room(self, downloads: Sequence[Download]) -> AsyncIterator[None]:
        """Room for what one message needs; held from its first download until it is composed."""
        wanted = sum(Request.of(download, self._rules.max_bytes).max_bytes for download in downloads)
        octets = min(wanted, MESSAGE_OCTETS)
        async with self._at(downloads[0].url) as host, host.room.take(octets), self._room.take(octets):
            yield

    async def fetch(self, downloads: Sequence[Download]) -> dict[Download, Answer]:
        """Answer every one of them, in the order given; a few are asked for at a time."""
        found: dict[Download, Answer] = {}
        left = MESSAGE_OCTETS
        waiting: dict[Download, asyncio.Task[Answer]] = {}
        for download in downloads:
            if left < 0:
                found[download] = DownloadFailure(f"more than {MESSAGE_OCTETS} octets", is_temporary=False)
                continue
            waiting[download] = self._ask(Request.of(download, self._rules.max_bytes))
            if len(waiting) >= AT_A_TIME:
                await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
                left -= _collect(waiting, found)
        if waiting:
            await asyncio.wait(waiting.values())
            _collect(waiting, found)
        return {download: found[download] for download in downloads}

    # --- one request ------------------------------------------------------------------------------------------------

    def _ask(self, request: Request) -> asyncio.Task[Answer]:
        """The task that will know, shared by all who ask for the same."""
        task = self._under_way.get(request)
        if task is not None:
            self.counts.shared += 1
            return task
        task = asyncio.create_task(self._answer(request))
        self._under_way[request] = task
        task.add_done_callback(lambda _: self._under_way.pop(request))
        return task

    async def _answer(self, request: Request) -> Answer:
        known = self._cache.get(request, self._clock.monotonic())
        if known is not None:
            self.counts.hits += 1
            return known
        try:
            return await self._get(request)
        except Exception as error:  # the top of a task, whose end many wait for
            self._observer.crash(_COMPONENT, error)
            return self._remember_failure(request, DownloadFailure("internal error", is_temporary=True))

    async def _get(self, request: Request) -> Answer:
        fetched = await self._store.load(request) if self._store is not None else None
        if fetched is not None:
            self.counts.stored += 1
        else:
            try:
                fetched = await self._fetch(request)
            except DownloadError as error:
                return self._remember_failure(request, DownloadFailure(error.cause, error.is_temporary))
            if self._store is not None:
                self._store.save(request, fetched, min(fetched.fresh_seconds, self._rules.ttl))
        seconds = min(fetched.fresh_seconds, self._rules.ttl)
        if seconds > 0:
            self._cache.put(request, fetched.resource, self._clock.monotonic() + seconds)
        return fetched.resource

    def _remember_failure(self, request: Request, failure: DownloadFailure) -> DownloadFailure:
        self.counts.failures += 1
        self._cache.put(request, failure, self._clock.monotonic() + FAILURE_SECONDS)
        return failure

    async def _fetch(self, request: Request) -> Fetched:
        """Ask, and once more after a moment if that may help.

        Raises:
            DownloadError: It did not help.
        """
        try:
            return await self._fetch_once(request)
        except DownloadError as error:
            if not error.is_temporary:
                raise
        await asyncio.sleep(SECOND_TRY_SECONDS)
        return await self._fetch_once(request)

    async def _fetch_once(self, request: Request) -> Fetched:
        fetcher = await self._fetcher()
        # The host goes first: those who wait for a slow one must not keep others from theirs.
        async with self._at(request.url) as host, host.places, self._altogether:
            self.counts.requests += 1
            fetched = await fetcher.fetch(request.url, request.max_bytes, is_start_enough=request.is_start_enough)
        self._observer.resource_fetched(_LOGIN.sub(r"\1", request.url))
        return fetched

    async def _fetcher(self) -> Fetcher:
        opening = self._opening
        if opening is None or (opening.done() and opening.exception() is not None):
            opening = self._opening = asyncio.create_task(asyncio.to_thread(self._open_fetcher))
        return await asyncio.shield(opening)

    @asynccontextmanager
    async def _at(self, url: str) -> AsyncIterator[_Host]:
        """The host of an address, remembered while anybody has to do with it."""
        name = _host_of(url)
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host()
        host.users += 1
        try:
            yield host
        finally:
            host.users -= 1
            if not host.users:
                del self._hosts[name]


class _Host:
    """One host.

    Attributes:
        users: Requests and messages that have to do with it.
        places: For requests under way.
        room: For messages.
    """

    __slots__ = ("places", "room", "users")

    def __init__(self) -> None:
        self.users = 0
        self.places = asyncio.Semaphore(TO_A_HOST)
        self.room = Room(HOST_ROOM_OCTETS)


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _collect(waiting: dict[Download, asyncio.Task[Answer]], found: dict[Download, Answer]) -> int:
    """Move what is done from one to the other; returns its octets."""
    octets = 0
    for download, task in list(waiting.items()):
        if task.done():
            del waiting[download]
            answer = task.result()
            found[download] = answer
            octets += len(answer.body) if isinstance(answer, Resource) else 0
    return octets
