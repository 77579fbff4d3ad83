"""The composition root of a worker: builds every object and passes it what it uses."""

from __future__ import annotations

import asyncio
import random

import msgspec

from relayq.adapters.clock import SystemClock
from relayq.adapters.dns import DnsResolver
from relayq.adapters.figures import Figures, series
from relayq.adapters.store import open_store
from relayq.app import rules
from relayq.app.broker import LogLine, open_broker, reconfigure_broker
from relayq.app.composing import Composing
from relayq.app.journal import open_journal
from relayq.app.sending import Sending
from relayq.app.world import ALONE, REAL_WORLD, Links, World
from relayq.config import Settings
from relayq.delivery.admission import Admission
from relayq.delivery.bodies import Bodies
from relayq.delivery.ledger import OutcomeLedger
from relayq.delivery.pipeline import Pipeline
from relayq.delivery.publisher import Publisher
from relayq.delivery.reporter import Reporter
from relayq.delivery.scheduler import Scheduler
from relayq.delivery.strangers import Strangers
from relayq.ports import Broker, Clock, MessageStore, Observer, OutboxItem


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
        world: World = REAL_WORLD,
        links: Links = ALONE,
    ) -> None:
        """Build every part for the running loop.

        Args:
            settings: Whole configuration.
            observer: Told every fact once.
            log: Called with level and text by adapters.
            world: What is there already.
            links: To the other workers.

        Raises:
            JournalError: The folder of the journal cannot be used.
            UnusableAddressError: No store can be made from the address of one.
        """
        self._settings = settings
        self._acknowledging: set[asyncio.Future[None]] = set()
        rng = world.rng or random.Random()
        clock = world.clock or SystemClock()
        self._resolver = resolver = world.resolver or DnsResolver(rules.dns_options(settings), clock, rng)
        self._owns_resolver = world.resolver is None
        retry_rules = rules.retry_rules(settings)
        self._admission = admission = Admission(rules.admission_limits(settings))
        self._bodies = bodies = _open_bodies(settings, world.store, clock, observer)
        self.scheduler = Scheduler(
            rules.scheduler_rules(settings), retry_rules, admission, bodies, clock, observer,
            asyncio.get_running_loop(), links.inquiry,
        )  # fmt: skip
        self.broker = self._open_broker(world, clock, log, links)
        self._journal = journal = world.journal or open_journal(settings, observer)
        self.ledger = ledger = OutcomeLedger(
            clock.monotonic, self._acknowledge, journal, is_shared=links.inquiry is not None
        )
        self._reporter = Reporter(rules.reporter_rules(settings, retry_rules), bodies)
        self._publisher = publisher = Publisher(
            self.broker, ledger, rules.publisher_rules(settings), clock, observer, bodies, self._reporter, journal
        )
        self._sending = sending = Sending(settings, resolver, world.network, clock, rng, observer, links)
        self.pool = sending.pool
        self._composing = Composing(settings, resolver, clock, observer)
        self._pipeline = pipeline = Pipeline(
            self._composing.composer, bodies, sending.router, sending.terms, sending.pool, publisher, admission,
            rules.pipeline_rules(settings), retry_rules, clock, observer, rng.random, rng.shuffle, journal,
        )  # fmt: skip
        strangers = None
        if journal is not None:
            outbox, consumers = settings.queues.outbox, settings.broker.consumers
            strangers = Strangers(self.broker, journal, ledger, outbox, consumers, clock, observer)
        self.scheduler.attach(self.broker, pipeline, publisher, sending.pool, ledger, strangers)

    def _open_broker(self, world: World, clock: Clock, log: LogLine | None, links: Links) -> Broker:
        if world.broker is not None:
            return world.broker(self.scheduler)
        return open_broker(
            self._settings,
            listener=self.scheduler,
            clock=clock,
            log=log,
            purpose=f"worker {links.number}",
            is_worker=True,
        )

    async def start(self) -> None:
        """Connect to the broker and begin to deliver.

        Raises:
            BrokerError: See ``ports.Broker.open``.
            JournalError: The folder of the journal cannot be used.
            SchemaError: The database of rules lacks a table or column.
            SinkNotFoundError: ``smtp-sink-address`` is a name without address.
        """
        await self._sending.start()
        if self._bodies is not None:
            self._bodies.start()
        await self._composing.start()
        if self._journal is not None:
            await self._journal.open()
        await self.broker.open()
        await self.scheduler.start()

    async def stop(self) -> None:
        """Stop consuming, drain, publish, acknowledge, close (spec delivery.md 17)."""
        await self.scheduler.stop(self._settings.process.shutdown_timeout)
        if self._acknowledging:
            await asyncio.wait(self._acknowledging, timeout=5.0)
        await self._composing.close()
        await self.broker.close()
        if self._journal is not None:
            await self._journal.close(is_clean=True)
        if self._bodies is not None:
            await self._bodies.close()
        await self._sending.close()
        if self._owns_resolver:
            assert isinstance(self._resolver, DnsResolver)
            await self._resolver.close()

    def reconfigure(self, settings: Settings) -> None:
        """Take over what can be changed while it runs (spec config.md 5); the rest of ``settings`` is as before."""
        self._settings = settings
        retry_rules = rules.retry_rules(settings)
        self._admission.limits = rules.admission_limits(settings)
        self.scheduler.reconfigure(rules.scheduler_rules(settings), retry_rules)
        self._publisher.reconfigure(rules.publisher_rules(settings))
        self._reporter.reconfigure(rules.reporter_rules(settings, retry_rules))
        self._sending.reconfigure(settings)
        self._composing.reconfigure(settings)
        self._pipeline.reconfigure(rules.pipeline_rules(settings), retry_rules)
        reconfigure_broker(self.broker, settings)
        if self._bodies is not None:
            self._bodies.reconfigure(rules.body_rules(settings))
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
        counts: list[tuple[str, msgspec.Struct]] = [("relayq_downloads_total", self._composing.downloads.counts)]
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
        downloads = self._composing.downloads.counts
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


def _open_bodies(settings: Settings, store: MessageStore | None, clock: Clock, observer: Observer) -> Bodies | None:
    given = settings.store
    if store is None and given.address is not None:
        store = open_store(given.address, given.threads)
    if store is None:
        return None
    return Bodies(store, rules.body_rules(settings), clock, observer)
