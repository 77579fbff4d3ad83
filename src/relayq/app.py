"""The composition root of a worker: the only file that knows every part. Layer 6.

Builds every object and passes it what it uses; nobody else sees :class:`~relayq.config.Settings`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import signal
from collections.abc import Callable

from relayq.adapters.application_log import ApplicationLog
from relayq.adapters.clock import SystemClock
from relayq.adapters.dns import DnsOptions, DnsResolver
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.log_observer import LogObserver
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions
from relayq.adapters.sockets import SocketNetwork
from relayq.adapters.store import MissingLibraryError, open_store
from relayq.adapters.tls import TlsOptions
from relayq.compose.responsive import ResponsiveOptions
from relayq.config import BrokerAddress, EmbeddedAddress, ExitCode, Settings, Source
from relayq.delivery.admission import Admission, AdmissionLimits
from relayq.delivery.bodies import Bodies, BodyRules
from relayq.delivery.composer import Composer, ComposerRules
from relayq.delivery.lane import LaneLimits
from relayq.delivery.ledger import OutcomeLedger
from relayq.delivery.names import EhloNames
from relayq.delivery.opening import DialogueRules, SessionOpener, SinkNotFoundError
from relayq.delivery.pipeline import Pipeline, PipelineRules
from relayq.delivery.publisher import Publisher, PublisherRules
from relayq.delivery.reporter import Reporter, ReporterRules
from relayq.delivery.router import Router
from relayq.delivery.scheduler import Scheduler, SchedulerRules
from relayq.delivery.session import SmtpTimeouts
from relayq.delivery.session_pool import SessionPool
from relayq.delivery.terms import SessionTerms, Sink
from relayq.model import DsnOptions, ResultQueues, Smarthost
from relayq.model.message_json import ParseRules
from relayq.policy.reporting import ReportingRules
from relayq.policy.retry import RetryRules
from relayq.policy.routing import RoutingRules
from relayq.policy.storage import StoragePolicy, StorageRules
from relayq.policy.tls import LEVELS
from relayq.ports import (
    Broker,
    BrokerListener,
    BrokerRefusedError,
    BrokerStorageError,
    BrokerUnavailableError,
    Clock,
    DomainPolicies,
    MessageStore,
    Network,
    Observer,
    OutboxItem,
    Publication,
    Resolver,
    TopologyError,
)
from relayq.smtp import Credentials

LogLine = Callable[[str, str], None]


class SilentListener:
    """``ports.BrokerListener`` of one-shot commands: they look at what their own calls return."""

    def flow_changed(self, *, blocked: bool) -> None:
        """Nothing to pause."""

    def items_lost(self) -> None:
        """Nothing is held for long."""

    def unroutable(self, publication: Publication) -> None:
        """Injection is never given up, and nothing else is published."""


def open_broker(
    settings: Settings,
    *,
    time_limit: float | None = None,
    listener: BrokerListener | None = None,
    clock: Clock | None = None,
    log: LogLine | None = None,
    purpose: str = "worker 1",
    is_worker: bool = False,
) -> Broker:
    """The adapter that ``rabbitmq-address`` asks for, not yet opened.

    Args:
        settings: Whole configuration.
        time_limit: Seconds a one-shot command waits for the broker; ``None`` waits for ever.
        listener: Told about the broker's own events.
        clock: Default: the system's.
        log: Called with level and text.
        purpose: Shown by the broker beside the connection.
        is_worker: Prepare the outbox, the delay queues and every configured queue.
    """
    listener = listener or SilentListener()
    clock = clock or SystemClock()
    log = log or _discard
    address = settings.broker.address
    if isinstance(address, EmbeddedAddress):
        options = EmbeddedOptions(
            path=address.path,
            gzip=settings.broker.encoding == "gzip",
            max_publish=settings.broker.max_publish,
            time_limit=time_limit,
        )
        return EmbeddedBroker(options, listener, clock, log)
    return RabbitMqBroker(
        rabbitmq_options(settings, address, time_limit, purpose, is_worker=is_worker), listener, clock, log
    )


def _discard(level: str, text: str) -> None:
    del level, text


def rabbitmq_options(
    settings: Settings, addresses: tuple[BrokerAddress, ...], time_limit: float | None, purpose: str, *, is_worker: bool
) -> RabbitMqOptions:
    """Settings as the RabbitMQ adapter wants them."""
    broker, queues = settings.broker, settings.queues
    named = (queues.results, queues.success, queues.failure, queues.retry, queues.invalid, queues.dsn, queues.inbox)
    server = f" {settings.process.server_id}" if settings.process.server_id else ""
    return RabbitMqOptions(
        endpoints=tuple(
            Endpoint(
                host=host,
                port=port,
                user=address.user,
                password=address.password,
                vhost=address.vhost,
                tls=address.tls,
                verify=broker.verify,
                ca_file=address.options.cacertfile,
                cert_file=address.options.certfile,
                key_file=address.options.keyfile,
                server_name=address.options.server_name_indication,
                heartbeat=60 if address.options.heartbeat is None else address.options.heartbeat,
                connection_timeout=address.options.connection_timeout or 10.0,
            )
            for address in addresses
            for host, port in address.hosts
        ),
        connection_name=f"relayq{server} {purpose}",
        outbox=queues.outbox,
        prepare=is_worker,
        queues=tuple(dict.fromkeys(name for name in named if name)) if is_worker else (),
        delay_intervals=tuple(int(seconds) for seconds in settings.delivery.retry_interval),
        declare=broker.declare,
        durable=broker.durable,
        persistent=broker.persistent,
        exchange=broker.exchange,
        lazy=broker.lazy,
        max_priority=broker.maxpriority,
        queue_type=broker.queue_type,
        delivery_limit=broker.delivery_limit,
        consumers=broker.consumers,
        publishers=broker.publishers,
        throttle=broker.throttle,
        gzip=broker.encoding == "gzip",
        max_publish=broker.max_publish,
        time_limit=time_limit,
    )


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

        Raises:
            MissingLibraryError: The client library of the configured store is not installed.
        """
        loop = asyncio.get_running_loop()
        self._settings = settings
        rng = rng or random.Random()
        clock = clock or SystemClock()
        self._resolver = resolver or DnsResolver(_dns_options(settings), clock, rng)
        self._owns_resolver = resolver is None
        retry_rules = _retry_rules(settings)
        admission = Admission(_admission_limits(settings))
        self._bodies = _open_bodies(settings, store, clock, observer)
        self.scheduler = Scheduler(
            _scheduler_rules(settings), retry_rules, admission, self._bodies, clock, observer, loop
        )  # fmt: skip
        if broker is not None:
            self.broker = broker(self.scheduler)
        else:
            self.broker = open_broker(settings, listener=self.scheduler, clock=clock, log=log, is_worker=True)
        self._acknowledging: set[asyncio.Future[None]] = set()
        ledger = OutcomeLedger(clock.monotonic, self._acknowledge)
        reporter = Reporter(_reporter_rules(settings, retry_rules), self._bodies)
        publisher = Publisher(self.broker, ledger, _publisher_rules(settings), clock, observer, self._bodies, reporter)
        names = EhloNames(settings.session.ehlo_name or "", settings.session.hostname, self._resolver, clock.monotonic)
        network = network or SocketNetwork(loop, _tls_options(settings))
        opener = SessionOpener(network, names, _timeouts(settings), loop, _dialogue_rules(settings), observer)
        self._opener = opener
        pool = SessionPool(_lane_limits(settings), _max_connections(settings), opener.open, loop, rng.random, observer)
        routing_rules = RoutingRules(is_v6_first=settings.route.ip_order == "v6first")
        router = Router(self._resolver, routing_rules, clock, rng)
        self._composer = composer = Composer(_composer_rules(settings), clock, observer.warn)
        self._sts = _domain_policies(settings, self._resolver, clock)
        terms = _terms(settings, self._resolver, self._sts, observer)
        pipeline = Pipeline(
            composer, self._bodies, router, terms, pool, publisher, admission, _pipeline_rules(settings), retry_rules,
            clock, observer, rng.random, rng.shuffle,
        )  # fmt: skip
        self.scheduler.attach(self.broker, pipeline, publisher, pool, ledger)

    async def start(self) -> None:
        """Connect to the broker and begin to deliver.

        Raises:
            BrokerError: See ``ports.Broker.open``.
            SinkNotFoundError: ``smtp-sink-address`` is a name without address.
        """
        await self._opener.find_sink()
        if self._bodies is not None:
            self._bodies.start()
        await self.broker.open()
        await self.scheduler.start()

    async def stop(self) -> None:
        """Stop consuming, drain, publish, acknowledge, close (spec delivery.md 17)."""
        await self.scheduler.stop(self._settings.process.shutdown_timeout)
        if self._acknowledging:
            await asyncio.wait(self._acknowledging, timeout=5.0)
        self._composer.close()
        await self.broker.close()
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


def spare_the_collector() -> None:
    """Let the cyclic garbage collector look seldom, and not at what stays for ever.

    With the default thresholds it took a fifth of the CPU per message: a thousand messages under way are some 50,000
    young objects, which it went through again and again. Cycles are rare here (exceptions with their frames).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def run_worker(settings: Settings) -> int:
    """``relayq run``: deliver until told to stop; returns the exit code."""
    log = ApplicationLog(settings.log.targets, settings.log.level, settings.log.format)
    observer = LogObserver(log)
    for problem in settings.warnings:
        log.write("warning", "config", str(problem))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_leave, stopping, loop)
    loop.add_signal_handler(signal.SIGUSR1, log.reopen)
    loop.add_signal_handler(signal.SIGUSR2, lambda: log.write("info", "status", observer.summary()))
    try:
        worker = Worker(settings, observer=observer, log=lambda level, text: log.write(level, "broker", text))
    except MissingLibraryError as error:
        log.write("critical", "store", str(error))
        log.close()
        return int(ExitCode.CONFIGURATION)
    starting = asyncio.ensure_future(worker.start())
    waiting = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            spare_the_collector()
            log.write("info", "run", f"delivering from {settings.queues.outbox!r} on {_shown_address(settings)}")
            await waiting
    except (BrokerRefusedError, TopologyError, BrokerStorageError, BrokerUnavailableError) as error:
        log.write("critical", "broker", str(error))
        return exit_code_of(error)
    except SinkNotFoundError as error:
        log.write("critical", "run", str(error))
        return int(ExitCode.CONFIGURATION)
    else:
        return int(ExitCode.OK)
    finally:
        for task in (starting, waiting):
            task.cancel()
        await asyncio.gather(starting, waiting, return_exceptions=True)
        await worker.stop()
        log.write("info", "run", f"stopped; {observer.summary()}")
        log.close()


def exit_code_of(error: Exception) -> int:
    """Exit code for what a broker refused at startup (spec config.md 4)."""
    if isinstance(error, BrokerStorageError):
        return error.exit_code
    if isinstance(error, BrokerRefusedError):
        return int(ExitCode.NO_PERMISSION)
    if isinstance(error, TopologyError):
        return int(ExitCode.CONFIGURATION)
    return int(ExitCode.UNAVAILABLE)


def _stop_or_leave(stopping: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """The first signal drains, a second one stops at once."""
    if stopping.is_set():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        signal.raise_signal(signal.SIGTERM)
    stopping.set()


def _shown_address(settings: Settings) -> str:
    address = settings.broker.address
    return str(address) if isinstance(address, EmbeddedAddress) else ",".join(map(str, address))


def _max_connections(settings: Settings) -> int:
    import resource

    limits = settings.limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.smtp_connections_out or limits.smtp_connections
    if soft < wanted + 100 and hard != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 1000) if hard > 0 else wanted + 1000, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(wanted, limits.smtp_connections, soft - 100))


def _sink(settings: Settings) -> Sink | None:
    route = settings.route
    if route.sink_address is None:
        return None
    credentials = Credentials(route.sink_username, route.sink_password or "") if route.sink_username else None
    return Sink(address=route.sink_address, port=route.sink_port, credentials=credentials)


def _terms(settings: Settings, resolver: Resolver, sts: DomainPolicies | None, observer: Observer) -> SessionTerms:
    session = settings.session
    dane = resolver if session.dane == "auto" else None
    return SessionTerms(LEVELS[session.security], observer, sink=_sink(settings), dane=dane, sts=sts)


def _domain_policies(settings: Settings, resolver: Resolver, clock: Clock) -> DomainPolicies | None:
    if settings.session.mta_sts == "never" or settings.route.sink_address is not None:
        return None
    from relayq.adapters.mta_sts import HttpsPolicies
    from relayq.adapters.policy_fetcher import PolicyFetcher

    return HttpsPolicies(resolver, PolicyFetcher(resolver), clock)


def _dialogue_rules(settings: Settings) -> DialogueRules:
    session = settings.session
    return DialogueRules(allow_clear_auth=session.auth_plaintext, use_bdat=session.bdat == "auto", sink=_sink(settings))


def _tls_options(settings: Settings) -> TlsOptions:
    return TlsOptions(min_version=settings.session.tls_min, wants_details=settings.results.format == "extended")


def _dns_options(settings: Settings) -> DnsOptions:
    dns = settings.dns
    return DnsOptions(
        nameservers=dns.nameservers,
        timeout=dns.timeout,
        interval=dns.interval,
        attempts=dns.attempts,
        capacity=dns.capacity,
        rotate=dns.rotate,
        min_ttl=dns.min_ttl,
        max_ttl=dns.max_ttl,
        negative_ttl=dns.negative_ttl,
    )


def _retry_rules(settings: Settings) -> RetryRules:
    delivery = settings.delivery
    return RetryRules(
        intervals=delivery.retry_interval,
        max_delivertime=delivery.max_delivertime,
        max_attempts=delivery.max_attempts,
        jitter=delivery.retry_jitter / 100,
        intro_5xx_fails=delivery.intro_5xx == "fail",
        auth_5xx_fails=delivery.auth_5xx == "fail",
    )


def _configured_queues(settings: Settings) -> ResultQueues:
    queues = settings.queues
    return ResultQueues(results=queues.results, success=queues.success, failure=queues.failure, retry=queues.retry)


def _publisher_rules(settings: Settings) -> PublisherRules:
    queues = settings.queues
    return PublisherRules(
        outbox=queues.outbox,
        queues=_configured_queues(settings),
        invalid_queue=queues.invalid or "",
        storage=StorageRules(
            policy=StoragePolicy(settings.store.policy), ttl=settings.store.ttl, schedule=_retry_rules(settings)
        ),
    )


def _open_bodies(settings: Settings, store: MessageStore | None, clock: Clock, observer: Observer) -> Bodies | None:
    given = settings.store
    if store is None and given.address is not None:
        store = open_store(given.address, given.threads)
    if store is None:
        return None
    return Bodies(store, BodyRules(timeout=given.timeout, reschedule=given.reschedule), clock, observer)


def _admission_limits(settings: Settings) -> AdmissionLimits:
    return AdmissionLimits(
        max_queue=settings.limits.domain_maxqueue,
        max_hold=settings.broker.max_hold,
        prefetch=settings.broker.qos,
    )


def _lane_limits(settings: Settings) -> LaneLimits:
    limits = settings.limits
    return LaneLimits(
        max_connections=limits.ip_maxconnections,
        max_messages=limits.connection_maxmessages,
        max_idle=limits.connection_maxidle,
        offline_time=limits.host_offline_time,
        backoff_time=limits.host_backoff_time,
    )


def _timeouts(settings: Settings) -> SmtpTimeouts:
    given = settings.timeouts
    return SmtpTimeouts(**{name: getattr(given, name) for name in SmtpTimeouts.__struct_fields__})


def _composer_rules(settings: Settings) -> ComposerRules:
    return ComposerRules(
        eight_bit=settings.session.eight_bit,
        long_lines=settings.session.long_lines,
        oversign=settings.composing.dkim_oversign,
        template_headers=tuple(name.lower() for name in settings.composing.personalize_headers),
        escape=settings.composing.personalize_escape,
        inline_important=settings.composing.inlinecss_important,
        responsive=ResponsiveOptions(
            host_name=settings.process.hostname,
            autotext=settings.composing.responsive_autotext,
            icons=settings.composing.responsive_icons or "",
            escape_html=settings.composing.personalize_escape == "html",
            oversign=settings.composing.dkim_oversign,
        ),
    )


def _pipeline_rules(settings: Settings) -> PipelineRules:
    return PipelineRules(
        default_ips=settings.route.default_ips,
        max_hosts=settings.route.max_hosts,
        ack_limit=settings.broker.ack_limit,
        message_timeout=settings.timeouts.message,
        failover_on_4xx=settings.route.failover_on_4xx,
        connect_ips=settings.results.connect_ips,
        ipv6={"auto": None, "yes": True, "no": False}[settings.route.ipv6],
        local_codes=settings.results.local_codes,
        extended=settings.results.format == "extended",
        dsn=_dsn(settings),
    )


def _dsn(settings: Settings) -> DsnOptions | None:
    """What is passed on for messages that do not say: only what somebody wrote down (spec messages.md 4.13)."""
    reports = settings.reports
    ret = reports.ret if settings.effective["dsn-ret"].source is not Source.DEFAULT else None
    if ret is None and not reports.notify:
        return None
    return DsnOptions(notify=reports.notify or None, ret=ret)


def _reporter_rules(settings: Settings, retry_rules: RetryRules) -> ReporterRules:
    reports, hostname = settings.reports, settings.process.hostname
    return ReporterRules(
        reporting=ReportingRules(
            queue=settings.queues.dsn or "",
            notify=reports.notify,
            ret=reports.ret,
            delay_after=reports.delay_after,
        ),
        retry=retry_rules,
        author=reports.author or f"mailer-daemon@{hostname}",
        envelope=reports.envelope or "",
        reporting_mta=reports.mta or hostname,
    )


def _scheduler_rules(settings: Settings) -> SchedulerRules:
    broker, queues, delivery = settings.broker, settings.queues, settings.delivery
    return SchedulerRules(
        outbox=queues.outbox,
        prefetch=broker.qos,
        min_prefetch=broker.minqos,
        max_memory=broker.max_memory,
        max_consume=broker.max_consume,
        max_hold=broker.max_hold,
        mx_port=settings.route.port,
        smarthost=_smarthost(settings),
        parse=ParseRules(
            loose_envelope=delivery.validate_envelope == "loose",
            loose_recipient=delivery.validate_recipient == "loose",
            merged_queues=_configured_queues(settings) if queues.queues_override == "merge" else None,
        ),
        local_codes=settings.results.local_codes,
        extended=settings.results.format == "extended",
    )


def _smarthost(settings: Settings) -> Smarthost | None:
    given = settings.smarthost
    if given.host is None:
        return None
    return Smarthost(hostname=given.host, port=given.port, username=given.username, password=given.password)
