"""The composition root of a worker: builds every object and passes it what it uses."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Callable

from relayq.adapters.address_guard import AddressGuard
from relayq.adapters.clock import SystemClock
from relayq.adapters.dns import DnsResolver
from relayq.adapters.sockets import SocketNetwork
from relayq.adapters.store import open_store
from relayq.adapters.workshop import ProcessWorkshop
from relayq.app import rules
from relayq.app.broker import LogLine, open_broker
from relayq.app.journal import open_journal
from relayq.config import Settings
from relayq.delivery.admission import Admission
from relayq.delivery.arrivals import Arrivals
from relayq.delivery.bodies import Bodies, BodyRules
from relayq.delivery.composer import Composer
from relayq.delivery.download_store import DownloadStore
from relayq.delivery.downloads import Downloads
from relayq.delivery.ledger import OutcomeLedger
from relayq.delivery.names import EhloNames
from relayq.delivery.opening import SessionOpener
from relayq.delivery.pipeline import Pipeline
from relayq.delivery.publisher import Publisher
from relayq.delivery.reporter import Reporter
from relayq.delivery.router import Router
from relayq.delivery.scheduler import Scheduler
from relayq.delivery.session_pool import SessionPool
from relayq.delivery.terms import SessionTerms
from relayq.policy.routing import RoutingRules
from relayq.policy.tls import LEVELS
from relayq.ports import (
    Broker,
    BrokerListener,
    Clock,
    DomainPolicies,
    Fetcher,
    MessageStore,
    Network,
    Observer,
    OutboxItem,
    OutcomeJournal,
    Resolver,
)

_MAX_WORKSHOP_SIZE = 8


class Worker:
    """One delivering process: build, start, drain, stop."""

    def __init__(
        self,
        settings: Settings,
        *,
        observer: Observer,
        log: LogLine | None = None,
        resolver: Resolver | None = None,
        network: Network | None = None,
        broker: Callable[[BrokerListener], Broker] | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        store: MessageStore | None = None,
        journal: OutcomeJournal | None = None,
    ) -> None:
        """Build every part for the running loop.

        Args:
            settings: Whole configuration.
            observer: Told every fact once.
            log: Called with level and text by adapters.
            resolver: Default: DNS.
            network: Default: real sockets.
            broker: Makes the broker for a listener; default: what the configuration says.
            clock: Default: the system's.
            rng: Default: a fresh one.
            store: Default: what the configuration says, perhaps none.
            journal: Default: what the configuration says, perhaps none.

        Raises:
            JournalError: The folder of the journal cannot be used.
            UnusableAddressError: No store can be made from the address of one.
        """
        loop = asyncio.get_running_loop()
        self._settings = settings
        rng = rng or random.Random()
        clock = clock or SystemClock()
        self._resolver = resolver or DnsResolver(rules.dns_options(settings), clock, rng)
        self._owns_resolver = resolver is None
        retry_rules = rules.retry_rules(settings)
        admission = Admission(rules.admission_limits(settings))
        self._bodies = _open_bodies(settings, store, clock, observer)
        self.scheduler = Scheduler(
            rules.scheduler_rules(settings), retry_rules, admission, self._bodies, clock, observer, loop
        )  # fmt: skip
        if broker is not None:
            self.broker = broker(self.scheduler)
        else:
            self.broker = open_broker(settings, listener=self.scheduler, clock=clock, log=log, is_worker=True)
        self._acknowledging: set[asyncio.Future[None]] = set()
        self._journal = journal = journal or open_journal(settings, observer)
        ledger = OutcomeLedger(clock.monotonic, self._acknowledge, journal)
        reporter = Reporter(rules.reporter_rules(settings, retry_rules), self._bodies)
        publisher = Publisher(
            self.broker, ledger, rules.publisher_rules(settings), clock, observer, self._bodies, reporter, journal
        )
        names = EhloNames(settings.session.ehlo_name or "", settings.session.hostname, self._resolver, clock.monotonic)
        network = network or SocketNetwork(loop, rules.tls_options(settings))
        opener = SessionOpener(network, names, rules.timeouts(settings), loop, rules.dialogue_rules(settings), observer)
        self._opener = opener
        pool = SessionPool(
            rules.lane_limits(settings), _max_connections(settings), opener.open, loop, rng.random, observer
        )
        routing_rules = RoutingRules(is_v6_first=settings.route.ip_order == "v6first")
        router = Router(self._resolver, routing_rules, clock, rng)
        self._downloads = _open_downloads(settings, self._resolver, clock, observer)
        composer_rules = rules.composer_rules(settings)
        cores = _cores(settings)
        workshop = ProcessWorkshop(composer_rules.making, min(cores, _MAX_WORKSHOP_SIZE), loop, observer.warn)
        self._composer = composer = Composer(
            composer_rules, clock, observer.warn, workshop, self._downloads,
            Arrivals(self._resolver, clock, observer.warn), spare_cores=cores - 1,
        )  # fmt: skip
        self._sts = _domain_policies(settings, self._resolver, clock)
        terms = _terms(settings, self._resolver, self._sts, observer)
        pipeline = Pipeline(
            composer, self._bodies, router, terms, pool, publisher, admission, rules.pipeline_rules(settings),
            retry_rules, clock, observer, rng.random, rng.shuffle, journal,
        )  # fmt: skip
        self.scheduler.attach(self.broker, pipeline, publisher, pool, ledger)

    async def start(self) -> None:
        """Connect to the broker and begin to deliver.

        Raises:
            BrokerError: See ``ports.Broker.open``.
            JournalError: The folder of the journal cannot be used.
            SinkNotFoundError: ``smtp-sink-address`` is a name without address.
        """
        await self._opener.find_sink()
        if self._bodies is not None:
            self._bodies.start()
        self._downloads.start()
        if self._journal is not None:
            await self._journal.open()
        await self.broker.open()
        await self.scheduler.start()

    async def stop(self) -> None:
        """Stop consuming, drain, publish, acknowledge, close (spec delivery.md 17)."""
        await self.scheduler.stop(self._settings.process.shutdown_timeout)
        if self._acknowledging:
            await asyncio.wait(self._acknowledging, timeout=5.0)
        self._composer.close()
        await self._downloads.close()
        await self.broker.close()
        if self._journal is not None:
            await self._journal.close(is_clean=True)
        if self._bodies is not None:
            await self._bodies.close()
        if self._sts is not None:
            await self._sts.close()
        if self._owns_resolver:
            assert isinstance(self._resolver, DnsResolver)
            await self._resolver.close()

    def _acknowledge(self, item: OutboxItem) -> None:
        """Settle a redelivered item whose outcome is published."""
        future = asyncio.ensure_future(self.broker.settle(item, ()))
        self._acknowledging.add(future)
        future.add_done_callback(self._acknowledging.discard)


def _max_connections(settings: Settings) -> int:
    import resource

    limits = settings.limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.smtp_connections_out or limits.smtp_connections
    if soft < wanted + 100 and hard != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 1000) if hard > 0 else wanted + 1000, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(wanted, limits.smtp_connections, soft - 100))


def _terms(settings: Settings, resolver: Resolver, sts: DomainPolicies | None, observer: Observer) -> SessionTerms:
    session = settings.session
    dane = resolver if session.dane == "auto" else None
    return SessionTerms(LEVELS[session.security], observer, sink=rules.sink(settings), dane=dane, sts=sts)


def _domain_policies(settings: Settings, resolver: Resolver, clock: Clock) -> DomainPolicies | None:
    if settings.session.mta_sts == "never" or settings.route.sink_address is not None:
        return None
    from relayq.adapters.mta_sts import HttpsPolicies
    from relayq.adapters.policy_fetcher import PolicyFetcher

    return HttpsPolicies(resolver, PolicyFetcher(resolver), clock)


def _cores(settings: Settings) -> int:
    """Processors for this worker: its own, and its share of those that no worker has."""
    cores = len(os.sched_getaffinity(0))
    return max(cores // (settings.process.smtp_threads or cores), 1)


def _open_bodies(settings: Settings, store: MessageStore | None, clock: Clock, observer: Observer) -> Bodies | None:
    given = settings.store
    if store is None and given.address is not None:
        store = open_store(given.address, given.threads)
    if store is None:
        return None
    return Bodies(store, BodyRules(timeout=given.timeout, reschedule=given.reschedule), clock, observer)


def _open_downloads(settings: Settings, resolver: Resolver, clock: Clock, observer: Observer) -> Downloads:
    given = settings.downloads
    store = None
    if given.cache is not None:
        store = DownloadStore(open_store(given.cache, settings.store.threads), clock, observer)

    def open_fetcher() -> Fetcher:
        from relayq.adapters.fetcher import FetcherOptions, HttpFetcher  # an HTTP client takes a while to load

        guard = AddressGuard(given.blacklist, given.whitelist)
        options = FetcherOptions(user_agent=given.user_agent or "", timeout=given.timeout)
        return HttpFetcher(resolver, guard, options, clock, ssl.create_default_context())

    return Downloads(open_fetcher, rules.download_rules(settings), clock, observer, store)
