"""The composition root of a worker: builds every object and passes it what it uses."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from relayq.adapters.clock import SystemClock
from relayq.adapters.dns import DnsResolver
from relayq.adapters.figures import Figures, series
from relayq.adapters.sockets import SocketNetwork
from relayq.adapters.store import open_store
from relayq.adapters.workshop import ProcessWorkshop
from relayq.app import rules
from relayq.app.broker import LogLine, open_broker, reconfigure_broker
from relayq.app.composing import open_downloads, open_rule_keeper, web_of
from relayq.app.journal import open_journal
from relayq.config import Settings
from relayq.delivery.admission import Admission
from relayq.delivery.arrivals import Arrivals
from relayq.delivery.bodies import Bodies
from relayq.delivery.composer import Composer
from relayq.delivery.lane import MarkBoard
from relayq.delivery.ledger import OutcomeLedger
from relayq.delivery.names import EhloNames
from relayq.delivery.opening import SessionOpener
from relayq.delivery.pipeline import Pipeline
from relayq.delivery.publisher import Publisher
from relayq.delivery.reporter import Reporter
from relayq.delivery.router import Router
from relayq.delivery.scheduler import Inquiry, Scheduler
from relayq.delivery.session_pool import SessionPool
from relayq.delivery.terms import SessionTerms
from relayq.policy.tls import LEVELS
from relayq.ports import (
    Broker,
    BrokerListener,
    Clock,
    DomainPolicies,
    Lender,
    MessageStore,
    Network,
    Observer,
    OutboxItem,
    OutcomeJournal,
    Resolver,
)

_MAX_WORKSHOP_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What a worker shares with the others of its installation; nothing where it is the only one.

    Attributes:
        number: 1 for the first.
        lender: Where permits to open connections come from.
        marks: Where hosts that are down are made known.
        inquiry: What the others know about messages that were handed out before.
    """

    number: int = 1
    lender: Lender | None = None
    marks: MarkBoard | None = None
    inquiry: Inquiry | None = None


ALONE = Links()


class Worker:
    """One delivering process: build, start, drain, stop.

    Attributes:
        scheduler: Consumes the outbox.
        pool: Every connection.
        ledger: What became of the messages of the last minutes.
        broker: Where messages come from.
    """

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
        links: Links = ALONE,
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
            links: To the other workers.

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
        self._admission = admission = Admission(rules.admission_limits(settings))
        self._bodies = _open_bodies(settings, store, clock, observer)
        self.scheduler = Scheduler(
            rules.scheduler_rules(settings), retry_rules, admission, self._bodies, clock, observer, loop, links.inquiry
        )  # fmt: skip
        if broker is not None:
            self.broker = broker(self.scheduler)
        else:
            self.broker = open_broker(
                settings,
                listener=self.scheduler,
                clock=clock,
                log=log,
                purpose=f"worker {links.number}",
                is_worker=True,
            )
        self._acknowledging: set[asyncio.Future[None]] = set()
        self._journal = journal = journal or open_journal(settings, observer)
        self.ledger = ledger = OutcomeLedger(
            clock.monotonic, self._acknowledge, journal, is_shared=links.inquiry is not None
        )
        self._reporter = reporter = Reporter(rules.reporter_rules(settings, retry_rules), self._bodies)
        self._publisher = publisher = Publisher(
            self.broker, ledger, rules.publisher_rules(settings), clock, observer, self._bodies, reporter, journal
        )
        self._names = names = EhloNames(
            settings.session.ehlo_name or "", settings.session.hostname, self._resolver, clock.monotonic
        )
        self._network = network = network or SocketNetwork(loop, rules.tls_options(settings))
        opener = SessionOpener(network, names, rules.timeouts(settings), loop, rules.dialogue_rules(settings), observer)
        self._opener = opener
        self.pool = pool = SessionPool(
            rules.lane_limits(settings),
            rules.max_connections(settings),
            opener.open,
            loop,
            rng.random,
            observer,
            lender=links.lender,
            marks=links.marks,
        )
        self._router = router = Router(self._resolver, rules.routing_rules(settings), clock, rng)
        self._rule_keeper = keeper = open_rule_keeper(settings, self._resolver, observer)
        self._downloads = open_downloads(settings, self._resolver, clock, observer)
        composer_rules = rules.composer_rules(settings)
        cores = _cores(settings)
        self._workshop = workshop = ProcessWorkshop(
            composer_rules.making, min(cores, _MAX_WORKSHOP_SIZE), loop, observer.warn
        )
        self._composer = composer = Composer(
            composer_rules, clock, observer.warn, workshop, self._downloads,
            Arrivals(self._resolver, clock, observer.warn), spare_cores=cores - 1,
            keys_of_author=None if keeper is None else keeper.keys_of_author,
        )  # fmt: skip
        self._sts = _domain_policies(settings, self._resolver, clock)
        self._terms = terms = _terms(settings, self._resolver, self._sts, observer)
        self._clock = clock
        self._pipeline = pipeline = Pipeline(
            composer, self._bodies, router, terms, pool, publisher, admission, rules.pipeline_rules(settings),
            retry_rules, clock, observer, rng.random, rng.shuffle, journal,
        )  # fmt: skip
        self.scheduler.attach(self.broker, pipeline, publisher, pool, ledger)

    async def start(self) -> None:
        """Connect to the broker and begin to deliver.

        Raises:
            BrokerError: See ``ports.Broker.open``.
            JournalError: The folder of the journal cannot be used.
            SchemaError: The database of rules lacks a table or column.
            SinkNotFoundError: ``smtp-sink-address`` is a name without address.
        """
        await self._opener.find_sink()
        if self._bodies is not None:
            self._bodies.start()
        self._downloads.start()
        if self._rule_keeper is not None:
            await self._rule_keeper.start()
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
        if self._rule_keeper is not None:
            await self._rule_keeper.close()
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

    def reconfigure(self, settings: Settings) -> None:
        """Take over what can be changed while it runs (spec config.md 5); the rest of ``settings`` is as before."""
        before, self._settings = self._settings, settings
        retry_rules = rules.retry_rules(settings)
        self._admission.limits = rules.admission_limits(settings)
        self.scheduler.reconfigure(rules.scheduler_rules(settings), retry_rules)
        self._publisher.reconfigure(rules.publisher_rules(settings))
        self._reporter.reconfigure(rules.reporter_rules(settings, retry_rules))
        self._names.reconfigure(settings.session.ehlo_name or "")
        self._opener.reconfigure(rules.timeouts(settings), rules.dialogue_rules(settings))
        self.pool.reconfigure(rules.lane_limits(settings), rules.max_connections(settings))
        self._router.reconfigure(rules.routing_rules(settings))
        composer_rules = rules.composer_rules(settings)
        self._composer.reconfigure(composer_rules)
        self._workshop.reconfigure(composer_rules.making)
        is_web_changed = settings.downloads != before.downloads
        web = web_of(settings, self._resolver, self._clock) if is_web_changed else None
        self._downloads.reconfigure(rules.download_rules(settings), web)
        if self._rule_keeper is not None:
            self._rule_keeper.reconfigure(rules.rule_keeper_rules(settings))
        self._pipeline.reconfigure(rules.pipeline_rules(settings), retry_rules)
        if self._sts is None:
            self._sts = _domain_policies(settings, self._resolver, self._clock)
        is_sts_on = settings.session.mta_sts != "never"
        dane = self._resolver if settings.session.dane == "auto" else None
        self._terms.reconfigure(LEVELS[settings.session.security], dane, self._sts if is_sts_on else None)
        reconfigure_broker(self.broker, settings)
        if self._bodies is not None:
            self._bodies.reconfigure(rules.body_rules(settings))
        if isinstance(self._network, SocketNetwork):
            self._network.reconfigure(rules.tls_options(settings))
        if isinstance(self._resolver, DnsResolver):
            self._resolver.reconfigure(rules.dns_options(settings))

    def figures(self) -> Figures:
        """What its parts count, besides what the observer is told."""
        scheduler = self.scheduler
        figures: Figures = {
            "relayq_consumed_total": scheduler.consumed,
            "relayq_broker_blocked": int(self.broker.is_blocked),
            "relayq_redelivered_total": scheduler.redelivered,
            "relayq_ledger_hits_total": self.ledger.hits,
            "relayq_messages_held": scheduler.held,
            "relayq_messages_held_bytes": scheduler.held_bytes,
            "relayq_messages_waiting": len(self._admission),
            "relayq_connections": self.pool.connections,
            "relayq_hosts_down": self.pool.marked_down,
        }
        counts: list[tuple[str, msgspec.Struct]] = [("relayq_downloads_total", self._downloads.counts)]
        if self._bodies is not None:
            counts.append(("relayq_store_total", self._bodies.counts))
        for family, counted in counts:
            for outcome, count in msgspec.structs.asdict(counted).items():
                figures[series(family, outcome=outcome)] = count
        if isinstance(self._resolver, DnsResolver):
            dns = self._resolver.statistics
            figures["relayq_dns_lookups_total"] = dns.lookups
            figures["relayq_dns_cache_hits_total"] = dns.hits
            figures[series("relayq_dns_failures_total", kind="temporary")] = dns.temporary_failures
            figures[series("relayq_dns_failures_total", kind="permanent")] = dns.authoritative_failures
        downloads = self._downloads.counts
        figures["relayq_download_requests_total"] = downloads.requests
        figures[series("relayq_download_reuses_total", source="memory")] = downloads.hits
        figures[series("relayq_download_reuses_total", source="another")] = downloads.shared
        figures[series("relayq_download_reuses_total", source="store")] = downloads.stored
        figures["relayq_download_failures_total"] = downloads.failures
        return figures

    def _acknowledge(self, item: OutboxItem) -> None:
        """Settle a redelivered item whose outcome is published."""
        future = asyncio.ensure_future(self.broker.settle(item, ()))
        self._acknowledging.add(future)
        future.add_done_callback(self._acknowledging.discard)


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
    return Bodies(store, rules.body_rules(settings), clock, observer)
