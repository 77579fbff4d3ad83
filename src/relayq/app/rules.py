"""Settings as each part wants them: records into records, nothing else."""

from __future__ import annotations

import contextlib

from relayq.adapters.dns import DnsOptions
from relayq.adapters.tls import TlsOptions
from relayq.compose.making import MakingRules
from relayq.compose.responsive import ResponsiveOptions
from relayq.config import Settings, Source
from relayq.delivery.admission import SHORTEST_REACH, AdmissionLimits
from relayq.delivery.bodies import BodyRules
from relayq.delivery.composer import ComposerRules
from relayq.delivery.downloads import DownloadRules
from relayq.delivery.lane import LaneLimits
from relayq.delivery.opening import DialogueRules
from relayq.delivery.pipeline import PipelineRules
from relayq.delivery.publisher import PublisherRules
from relayq.delivery.reporter import ReporterRules
from relayq.delivery.rule_keeper import RuleKeeperRules
from relayq.delivery.scheduler import SchedulerRules
from relayq.delivery.session import SmtpTimeouts
from relayq.delivery.terms import Sink
from relayq.delivery.waiting import PARKED_SECONDS
from relayq.model import DsnOptions, ResultQueues, Smarthost
from relayq.model.message_json import ParseRules
from relayq.policy.reporting import ReportingRules
from relayq.policy.retry import RetryRules
from relayq.policy.routing import RoutingRules
from relayq.policy.storage import StoragePolicy, StorageRules
from relayq.smtp import Credentials


def sink(settings: Settings) -> Sink | None:
    """The one server that every connection goes to, for debugging; ``None`` normally."""
    route = settings.route
    if route.sink_address is None:
        return None
    credentials = Credentials(route.sink_username, route.sink_password or "") if route.sink_username else None
    return Sink(address=route.sink_address, port=route.sink_port, credentials=credentials)


def dialogue_rules(settings: Settings) -> DialogueRules:
    """For ``delivery.opening``."""
    session = settings.session
    return DialogueRules(allow_clear_auth=session.auth_plaintext, use_bdat=session.bdat == "auto", sink=sink(settings))


def tls_options(settings: Settings) -> TlsOptions:
    """For ``adapters.tls``."""
    return TlsOptions(min_version=settings.session.tls_min, wants_details=settings.results.format == "extended")


def dns_options(settings: Settings) -> DnsOptions:
    """For ``adapters.dns``."""
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


def retry_rules(settings: Settings) -> RetryRules:
    """When a message is tried again, and when it is given up."""
    delivery = settings.delivery
    return RetryRules(
        intervals=delivery.retry_interval,
        max_delivertime=delivery.max_delivertime,
        max_attempts=delivery.max_attempts,
        jitter=delivery.retry_jitter / 100,
        intro_5xx_fails=delivery.intro_5xx == "fail",
        auth_5xx_fails=delivery.auth_5xx == "fail",
    )


def configured_queues(settings: Settings) -> ResultQueues:
    """Queues of results, for messages that name none."""
    queues = settings.queues
    return ResultQueues(results=queues.results, success=queues.success, failure=queues.failure, retry=queues.retry)


def publisher_rules(settings: Settings) -> PublisherRules:
    """For ``delivery.publisher``."""
    queues = settings.queues
    return PublisherRules(
        outbox=queues.outbox,
        queues=configured_queues(settings),
        invalid_queue=queues.invalid or "",
        delay_property=settings.delivery.delay_property,
        has_secrets=settings.results.secrets == "keep",
        storage=StorageRules(
            policy=StoragePolicy(settings.store.policy), ttl=settings.store.ttl, schedule=retry_rules(settings)
        ),
    )


def admission_limits(settings: Settings) -> AdmissionLimits:
    """For ``delivery.admission``."""
    return AdmissionLimits(
        max_queue=settings.limits.domain_maxqueue,
        max_hold=settings.broker.max_hold,
        prefetch=settings.broker.qos,
        # Without parking queues the way round through the broker takes a minute.
        least_reach=SHORTEST_REACH if settings.broker.declare else PARKED_SECONDS,
    )


def lane_limits(settings: Settings) -> LaneLimits:
    """For ``delivery.lane``."""
    limits = settings.limits
    return LaneLimits(
        max_connections=limits.ip_maxconnections,
        max_messages=limits.connection_maxmessages,
        max_idle=limits.connection_maxidle,
        offline_time=limits.host_offline_time,
        backoff_time=limits.host_backoff_time,
    )


def timeouts(settings: Settings) -> SmtpTimeouts:
    """Of the phases of a dialogue."""
    given = settings.timeouts
    return SmtpTimeouts(**{name: getattr(given, name) for name in SmtpTimeouts.__struct_fields__})


def composer_rules(settings: Settings) -> ComposerRules:
    """For ``delivery.composer``."""
    return ComposerRules(
        eight_bit=settings.session.eight_bit,
        long_lines=settings.session.long_lines,
        oversign=settings.composing.dkim_oversign,
        making=making_rules(settings),
    )


def making_rules(settings: Settings) -> MakingRules:
    """For ``compose.making``, here and in the workshop."""
    composing = settings.composing
    return MakingRules(
        template_headers=tuple(name.lower() for name in composing.personalize_headers),
        escape=composing.personalize_escape,
        inline_important=composing.inlinecss_important,
        responsive=ResponsiveOptions(
            host_name=settings.process.hostname,
            autotext=composing.responsive_autotext,
            icons=composing.responsive_icons or "",
            escape_html=composing.personalize_escape == "html",
            oversign=composing.dkim_oversign,
        ),
    )


def pipeline_rules(settings: Settings) -> PipelineRules:
    """For ``delivery.pipeline``."""
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
        dsn=dsn(settings),
    )


def dsn(settings: Settings) -> DsnOptions | None:
    """What is passed on for messages that do not say: only what somebody wrote down (spec messages.md 4.13)."""
    reports = settings.reports
    ret = reports.ret if settings.effective["dsn-ret"].source is not Source.DEFAULT else None
    if ret is None and not reports.notify:
        return None
    return DsnOptions(notify=reports.notify or None, ret=ret)


def reporter_rules(settings: Settings, retry_rules: RetryRules) -> ReporterRules:
    """For ``delivery.reporter``."""
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


def parse_rules(settings: Settings) -> ParseRules:
    """For ``model.message_json``."""
    delivery, queues = settings.delivery, settings.queues
    return ParseRules(
        loose_envelope=delivery.validate_envelope == "loose",
        loose_recipient=delivery.validate_recipient == "loose",
        merged_queues=configured_queues(settings) if queues.queues_override == "merge" else None,
    )


def scheduler_rules(settings: Settings) -> SchedulerRules:
    """For ``delivery.scheduler``."""
    broker, queues = settings.broker, settings.queues
    return SchedulerRules(
        outbox=queues.outbox,
        prefetch=broker.qos,
        flush_prefetch=broker.flush_qos,
        max_redeliveries=broker.max_redeliveries,
        min_prefetch=broker.minqos,
        max_memory=broker.max_memory,
        max_consume=broker.max_consume,
        max_hold=broker.max_hold,
        mx_port=settings.route.port,
        smarthost=smarthost(settings),
        parse=parse_rules(settings),
        local_codes=settings.results.local_codes,
        extended=settings.results.format == "extended",
        held_queue=queues.held,
    )


def routing_rules(settings: Settings) -> RoutingRules:
    """For ``delivery.router``."""
    return RoutingRules(is_v6_first=settings.route.ip_order == "v6first")


def body_rules(settings: Settings) -> BodyRules:
    """For ``delivery.bodies``."""
    return BodyRules(timeout=settings.store.timeout, reschedule=settings.store.reschedule)


def smarthost(settings: Settings) -> Smarthost | None:
    """The server that takes all mail; ``None`` when mail goes to the servers of its recipients."""
    given = settings.smarthost
    if given.host is None:
        return None
    return Smarthost(hostname=given.host, port=given.port, username=given.username, password=given.password)


def download_rules(settings: Settings) -> DownloadRules:
    """For ``delivery.downloads``."""
    return DownloadRules(max_bytes=settings.downloads.maxsize, ttl=settings.downloads.ttl)


def wanted_connections(settings: Settings) -> int:
    """Connections that may be open as configured."""
    limits = settings.limits
    return min(limits.smtp_connections_out or limits.smtp_connections, limits.smtp_connections)


def max_connections(settings: Settings) -> int:
    """Connections that may be open: as configured, but no more than this process may open files, less 100."""
    import resource

    wanted = wanted_connections(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + 100 and hard != soft:
        with contextlib.suppress(OSError, ValueError):  # a service manager may forbid even that
            raised = min(hard, wanted + 1000) if hard > 0 else wanted + 1000
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(wanted, soft - 100))


def rule_keeper_rules(settings: Settings) -> RuleKeeperRules:
    """For ``delivery.rule_keeper``."""
    return RuleKeeperRules(
        ttl=settings.database.ttl,
        is_validated=settings.database.validate,
        oversign=settings.composing.dkim_oversign,
    )
