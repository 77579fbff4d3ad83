"""The parts of a worker that make content and what they ask of the world; composing without delivering."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from relayq.adapters.address_guard import AddressGuard
from relayq.adapters.clock import SystemClock
from relayq.adapters.database import open_database, rule_tables
from relayq.adapters.dns import DnsResolver
from relayq.adapters.memory import LocalWorkshop, MemoryFetcher, MemoryResolver, RecordingObserver
from relayq.adapters.store import check_engine, open_store
from relayq.adapters.workshop import ProcessWorkshop
from relayq.app import rules
from relayq.compose import SigningKey
from relayq.compose.making import Maker
from relayq.compose.responsive import Resource
from relayq.config import Settings
from relayq.delivery.arrivals import Arrivals
from relayq.delivery.composer import Composer
from relayq.delivery.download_store import DownloadStore
from relayq.delivery.downloads import Downloads
from relayq.delivery.rule_keeper import RuleKeeper
from relayq.ports import Clock, DownloadError, Fetched, Fetcher, Observer, Resolver

_MAX_WORKSHOP_SIZE = 8


class Composing:
    """The parts of a worker that make content: built, started, reconfigured and closed together.

    Attributes:
        composer: Makes it.
        downloads: Fetches what messages name by address.
    """

    def __init__(self, settings: Settings, resolver: Resolver, clock: Clock, observer: Observer) -> None:
        """Nothing is started yet.

        Raises:
            UnusableAddressError: No database or store of downloads can be made from its address.
        """
        self._settings = settings
        self._resolver = resolver
        self._clock = clock
        given = rules.composer_rules(settings)
        cores = _cores(settings)
        self._keeper = keeper = open_rule_keeper(settings, resolver, observer)
        self.downloads = open_downloads(settings, resolver, clock, observer)
        self._workshop = ProcessWorkshop(
            given.making, min(cores, _MAX_WORKSHOP_SIZE), asyncio.get_running_loop(), observer.warn
        )
        self.composer = Composer(
            given, clock, observer.warn, self._workshop, self.downloads, Arrivals(resolver, clock, observer.warn),
            spare_cores=cores - 1, keys_of_author=None if keeper is None else keeper.keys_of_author,
        )  # fmt: skip

    async def start(self) -> None:
        """Read the rules, and fetch what is asked for.

        Raises:
            SchemaError: The database of rules lacks a table or column.
        """
        self.downloads.start()
        if self._keeper is not None:
            await self._keeper.start()

    def reconfigure(self, settings: Settings) -> None:
        """Take over what can be changed while it runs."""
        before, self._settings = self._settings, settings
        given = rules.composer_rules(settings)
        self.composer.reconfigure(given)
        self._workshop.reconfigure(given.making)
        is_web_changed = settings.downloads != before.downloads
        web = web_of(settings, self._resolver, self._clock) if is_web_changed else None
        self.downloads.reconfigure(rules.download_rules(settings), web)
        if self._keeper is not None:
            self._keeper.reconfigure(rules.rule_keeper_rules(settings))

    async def close(self) -> None:
        """End threads and processes, let go of connections."""
        self.composer.close()
        await self.downloads.close()
        if self._keeper is not None:
            await self._keeper.close()


def _cores(settings: Settings) -> int:
    """Processors for this worker: its own, and its share of those that no worker has."""
    cores = len(os.sched_getaffinity(0))
    return max(cores // (settings.process.smtp_threads or cores), 1)


def open_downloads(settings: Settings, resolver: Resolver, clock: Clock, observer: Observer) -> Downloads:
    """What fetches for messages, as it is configured."""
    cache = settings.downloads.cache
    store = None
    if cache is not None:
        store = DownloadStore(open_store(cache, settings.store.threads), clock, observer)
    return Downloads(web_of(settings, resolver, clock), rules.download_rules(settings), clock, observer, store)


def web_of(settings: Settings, resolver: Resolver, clock: Clock) -> Callable[[], Fetcher]:
    """Makes what gets things from the web as it is configured, when it is needed."""
    given = settings.downloads

    def open_fetcher() -> Fetcher:
        from relayq.adapters.fetcher import FetcherOptions, HttpFetcher  # an HTTP client takes a while to load

        guard = AddressGuard(given.blacklist, given.whitelist)
        options = FetcherOptions(user_agent=given.user_agent or "", timeout=given.timeout, proxy=given.proxy)
        return HttpFetcher(resolver, guard, options, clock, ssl.create_default_context())

    return open_fetcher


def open_rule_keeper(settings: Settings, resolver: Resolver, observer: Observer) -> RuleKeeper | None:
    """What reads the database of rules, ``None`` when there is none.

    Raises:
        UnusableAddressError: The client library of the engine is not installed.
    """
    address = settings.database.address
    if address is None:
        return None
    check_engine(address)
    return RuleKeeper(open_database(address), rule_tables(), rules.rule_keeper_rules(settings), resolver, observer)


class NoFetcher:
    """``ports.Fetcher`` that connects to nothing.

    Attributes:
        urls: What was asked for in vain.
    """

    def __init__(self, known: Mapping[str, Resource] | None = None) -> None:
        """Resources of ``known``, by address, are had without a connection."""
        self.urls: set[str] = set()
        self._known = MemoryFetcher()
        self._known.pages.update(known or {})

    async def fetch(self, url: str, max_bytes: int, *, is_start_enough: bool) -> Fetched:
        """What is known, else refuse."""
        if url in self._known.pages:
            return await self._known.fetch(url, max_bytes, is_start_enough=is_start_enough)
        self.urls.add(url)
        raise DownloadError("not downloaded", is_temporary=False)

    async def close(self) -> None:
        """Nothing is open."""


class _TellingObserver(RecordingObserver):
    """Hands warnings on."""

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        super().__init__()
        self._warn = warn

    def warn(self, component: str, text: str) -> None:
        """Tell it."""
        self._warn(component, text)


@asynccontextmanager
async def database_keys(
    settings: Settings, warn: Callable[[str, str], None]
) -> AsyncIterator[Callable[[bytes], tuple[SigningKey, ...]] | None]:
    """Signing keys by author from the database of rules, read once; ``None`` without a database.

    DNS is asked for the public keys of those that sign only when it has them.

    Raises:
        UnusableAddressError: The client library of the engine is not installed.
        DatabaseError: It cannot be read.
    """
    resolver = DnsResolver(rules.dns_options(settings), SystemClock(), random.Random())
    keeper = open_rule_keeper(settings, resolver, _TellingObserver(warn))
    try:
        if keeper is not None:
            await keeper.read_once()
        yield None if keeper is None else keeper.keys_of_author
    finally:
        if keeper is not None:
            await keeper.close()
        await resolver.close()


@asynccontextmanager
async def open_composer(
    settings: Settings,
    warn: Callable[[str, str], None],
    fetcher: Fetcher | None = None,
    keys_of_author: Callable[[bytes], tuple[SigningKey, ...]] | None = None,
) -> AsyncIterator[Composer]:
    """A composer for a few messages, in this process alone.

    Args:
        settings: Whole configuration.
        warn: Told what to tell the user: component and text.
        fetcher: Asked for downloads instead of the web; nobody asks DNS then.
        keys_of_author: Keys that sign a message because of its author, such as `database_keys`.
    """
    clock, observer = SystemClock(), RecordingObserver()
    if fetcher is None:
        resolver: Resolver = DnsResolver(rules.dns_options(settings), clock, random.Random())
        downloads = open_downloads(settings, resolver, clock, observer)
    else:
        resolver = MemoryResolver(clock)
        downloads = Downloads(lambda: fetcher, rules.download_rules(settings), clock, observer)
    composer_rules = rules.composer_rules(settings)
    workshop = LocalWorkshop(Maker(composer_rules.making, clock.monotonic, lambda: f"=_{secrets.token_hex(16)}"))
    arrivals = Arrivals(resolver, clock, warn)
    composer = Composer(composer_rules, clock, warn, workshop, downloads, arrivals, keys_of_author=keys_of_author)
    downloads.start()
    try:
        yield composer
    finally:
        composer.close()
        await downloads.close()
        if isinstance(resolver, DnsResolver):
            await resolver.close()
