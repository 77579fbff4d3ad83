"""The typed configuration: one record per consumer, so a component gets what it uses and nothing else.

Fields are named like their keys, ``_`` for ``-``, without the prefix common to a record; ``Record.keys_by_field``
tells which is which. Durations are seconds, sizes bytes. Values that are secret are left out of every ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relayq.config.broker_address import BrokerAddress, EmbeddedAddress
    from relayq.config.network_types import IpNetwork
    from relayq.ports import StoreAddress

Strictness = Literal["strict", "loose"]


class Record:
    """What all records share: they are filled from values by key."""

    __slots__ = ()

    PREFIX: ClassVar[str] = ""
    RENAMED: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def keys_by_field(cls) -> dict[str, str]:
        """Field name → key of the setting."""
        names = [item.name for item in fields(cls)]  # type: ignore[arg-type] # every subclass is a dataclass
        return {name: cls.RENAMED.get(name, cls.PREFIX + name.replace("_", "-")) for name in names}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Pick the fields out of ``values``, which has every key."""
        return cls(**{name: values[key] for name, key in cls.keys_by_field().items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings(Record):
    """Identity and life of the process.

    Attributes:
        server_id: Tells instances apart, may be empty.
        hostname: Full name of this host; never empty.
        shutdown_timeout: Seconds a graceful stop waits for SMTP transactions.
        smtp_threads: Worker processes, 0 = one per processor core.
        user: Identity to take on, ``name`` or ``name:group``; ``None`` = stay.
        lock: File with the process id; ``None`` = none.
        daemon: Leave the terminal.
    """

    server_id: str
    hostname: str
    shutdown_timeout: float
    smtp_threads: int
    user: str | None
    lock: str | None
    daemon: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings(Record):
    """How to reach the broker and how much to take from it.

    Attributes:
        address: Brokers to try in this order, or the embedded one.
        verify: Check certificates of ``amqps`` brokers.
        exchange: Exchange of every publish; empty = the default exchange.
        declare: Create queues, exchange and bindings.
        durable: What is created survives a restart of the broker.
        persistent: What is published does.
        lazy: Queues of brokers before 3.12 keep messages on disk.
        maxpriority: ``x-max-priority``, 0 = no priority queues.
        queue_type: ``x-queue-type`` of created queues.
        delivery_limit: ``x-delivery-limit`` of a quorum outbox.
        consumers: Consuming connections per worker.
        publishers: Publishing connections per worker.
        qos: Messages a consumer holds unacknowledged.
        minqos: Lower limit of scaling that back.
        flush_qos: Messages fetched from parking queues at once.
        throttle: Unconfirmed publishes per publisher.
        encoding: Compression of publishes, ``None`` = none.
        max_hold: Seconds a message may wait in memory for its SMTP transaction to start.
        ack_limit: Seconds from consuming to acknowledging.
        max_redeliveries: Hand-outs of a quorum outbox after which a message is refused, 0 = never.
        max_memory: Bytes of bodies a worker holds before it scales back.
        max_consume: Bytes of a message, unpacked, above which it is malformed.
        max_publish: Bytes of the largest publish, 0 = by broker version.
    """

    PREFIX: ClassVar[str] = "rabbitmq-"

    address: tuple[BrokerAddress, ...] | EmbeddedAddress
    verify: bool
    exchange: str
    declare: bool
    durable: bool
    persistent: bool
    lazy: bool
    maxpriority: int
    queue_type: Literal["auto", "classic", "quorum"]
    delivery_limit: int
    consumers: int
    publishers: int
    qos: int
    minqos: int
    flush_qos: int
    throttle: int
    encoding: Literal["gzip"] | None
    max_hold: float
    ack_limit: float
    max_redeliveries: int
    max_memory: int
    max_consume: int
    max_publish: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings(Record):
    """Names of queues; ``None`` = off.

    Attributes:
        outbox: The queue consumed.
        results: Every final result.
        success: Final results of delivered messages.
        failure: Final results of the others.
        retry: Results of attempts that are repeated.
        queues_override: Whether queues in a message replace these altogether or one by one.
        invalid: Copies of unreadable messages.
        dsn: Reports this server makes.
        held: Messages that may have been accepted before a crash; ``None`` = they are sent again.
        inbox: Injected messages; ``None`` = they are thrown away.
    """

    PREFIX: ClassVar[str] = "rabbitmq-"

    outbox: str
    results: str | None
    success: str | None
    failure: str | None
    retry: str | None
    queues_override: Literal["replace", "merge"]
    invalid: str | None
    dsn: str | None
    held: str | None
    inbox: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings(Record):
    """When a message is tried, tried again and given up.

    Attributes:
        max_delivertime: Seconds after the first pick-up, 0 = no deadline.
        max_attempts: Number of attempts, 0 = no limit.
        retry_interval: Seconds after attempt 1, 2, …; not empty, the last one repeats.
        retry_jitter: Percent added at random to an interval, at most.
        validate_envelope: Syntax asked of senders.
        validate_recipient: Syntax asked of recipients.
        delay_property: Member of the message that carries the due time.
        intro_5xx: What a 5xx greeting of every host means.
        auth_5xx: What a refused login means.
    """

    max_delivertime: float
    max_attempts: int
    retry_interval: tuple[float, ...]
    retry_jitter: int
    validate_envelope: Strictness
    validate_recipient: Strictness
    delay_property: Literal["delayed", "nextattempt"]
    intro_5xx: Literal["fail", "retry"]
    auth_5xx: Literal["fail", "retry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings(Record):
    """Which addresses are connected, from where.

    Attributes:
        default_ips: Local addresses, canonical; empty = the system's choice.
        port: Port of MX hosts.
        ipv6: Whether IPv6 targets are used.
        ip_order: Which family comes first.
        max_hosts: Addresses tried per attempt.
        failover_on_4xx: Go on to the next host after a 4xx about the mail.
        sink_address: Host that gets every connection, ``None`` = no sink.
        sink_port: Its port.
        sink_username: Login there, ``None`` = none.
        sink_password: Of that login.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        "default_ips": "smtp-default-ips",
        "port": "smtp-out-port",
        "ipv6": "smtp-out-ipv6",
        "max_hosts": "smtp-max-hosts",
        "sink_address": "smtp-sink-address",
        "sink_port": "smtp-sink-port",
        "sink_username": "smtp-sink-username",
        "sink_password": "smtp-sink-password",
    }

    default_ips: tuple[str, ...]
    port: int
    ipv6: Literal["auto", "yes", "no"]
    ip_order: Literal["v4first", "v6first"]
    max_hosts: int
    failover_on_4xx: bool
    sink_address: str | None
    sink_port: int
    sink_username: str | None = field(repr=False)
    sink_password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmarthostSettings(Record):
    """The server that takes all mail.

    Attributes:
        host: Name or address, ``None`` = deliver to MX hosts.
        port: Its port.
        username: Login, ``None`` = none.
        password: Of that login.
    """

    PREFIX: ClassVar[str] = "smarthost-"
    RENAMED: ClassVar[Mapping[str, str]] = {"host": "smarthost"}

    host: str | None
    port: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings(Record):
    """How a session with a server is held.

    Attributes:
        ehlo_name: Name in EHLO, ``None`` = the confirmed reverse name of the local address, then ``hostname``.
        hostname: The last resort of that.
        security: Level of encryption.
        tls_min: Oldest TLS version.
        auth_plaintext: PLAIN and LOGIN without TLS.
        eight_bit: What happens to 8-bit content without 8BITMIME.
        long_lines: What happens to lines of more than 998 octets.
        dane: Whether TLSA records are honoured.
        mta_sts: Whether MTA-STS policies are.
        bdat: Whether content goes out with BDAT where that is offered.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        "ehlo_name": "smtp-out-hostname",
        "security": "smtp-out-security",
        "tls_min": "smtp-out-tls-min",
        "eight_bit": "8bit",
        "long_lines": "long-lines",
        "bdat": "smtp-bdat",
    }

    ehlo_name: str | None
    hostname: str
    security: Literal["optional", "opportunistic", "required", "verified"]
    tls_min: Literal["1.0", "1.1", "1.2", "1.3"]
    auth_plaintext: bool
    dane: Literal["auto", "never"]
    mta_sts: Literal["auto", "never"]
    eight_bit: Literal["convert", "send"]
    long_lines: Literal["keep", "wrap", "fail"]
    bdat: Literal["never", "auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposingSettings(Record):
    """How content is made.

    Attributes:
        inlinecss_important: Rules that stay in a style sheet win against inlined ones.
        dkim_oversign: Sign headers once more than they occur.
        personalize_headers: Headers of a string ``mime`` that are templates.
        personalize_escape: Escaping of values in HTML parts.
        responsive_autotext: Make a text part from blocks.
        responsive_icons: Pattern of icon addresses, ``None`` for text links.
    """

    inlinecss_important: bool
    dkim_oversign: bool
    personalize_headers: tuple[str, ...]
    personalize_escape: Literal["none", "html"]
    responsive_autotext: bool
    responsive_icons: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpTimeouts(Record):
    """Seconds without progress after which a phase of the dialogue is over; each is above 0.

    Attributes:
        connect: TCP connection to one address.
        intro: Greeting.
        ehlo: Replies to EHLO, HELO, RSET.
        starttls: Reply to STARTTLS; again the handshake.
        auth: Each step of a login.
        mailfrom: Reply to MAIL.
        rcptto: Reply to RCPT.
        data: Reply to DATA.
        block: One write of content.
        message: Reply to the final dot.
        quit: Reply to QUIT.
    """

    PREFIX: ClassVar[str] = "smtp-out-timeout-"

    connect: float
    intro: float
    ehlo: float
    starttls: float
    auth: float
    mailfrom: float
    rcptto: float
    data: float
    block: float
    message: float
    quit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits(Record):
    """How many sessions there may be and how long they live; 0 = no limit unless said otherwise.

    Attributes:
        smtp_connections: Open connections of all workers, in and out, at least 1.
        smtp_connections_out: Outgoing ones among them.
        ip_maxconnections: Per local and remote address.
        connection_maxmessages: Messages over one connection.
        connection_maxidle: Seconds an idle connection is kept.
        domain_maxqueue: Messages in memory per local address and domain, per worker.
        host_offline_time: Seconds a pair of addresses is left alone after a failure.
        host_backoff_time: Seconds without new connections to a pair that refused one.
    """

    smtp_connections: int
    smtp_connections_out: int
    ip_maxconnections: int
    connection_maxmessages: int
    connection_maxidle: float
    domain_maxqueue: int
    host_offline_time: float
    host_backoff_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSettings(Record):
    """The resolver.

    Attributes:
        nameservers: ``(address, port)``; empty = those of the system.
        timeout: Seconds to wait after the last query.
        interval: Seconds before a query is repeated.
        attempts: Queries of one lookup.
        capacity: Lookups at the same time.
        rotate: Spread lookups over the servers.
        min_ttl: Seconds an answer is kept at least.
        max_ttl: Seconds an answer is kept at most.
        negative_ttl: Seconds a missing name is remembered at most; never under 60.
    """

    PREFIX: ClassVar[str] = "dns-"

    nameservers: tuple[tuple[str, int], ...]
    timeout: float
    interval: float
    attempts: int
    capacity: int
    rotate: bool
    min_ttl: float
    max_ttl: float
    negative_ttl: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSettings(Record):
    """What result objects contain.

    Attributes:
        format: How much.
        local_codes: Reply codes for failures found on this side.
        connect_ips: Addresses of failed connections.
    """

    PREFIX: ClassVar[str] = "result-"

    format: Literal["basic", "extended"]
    local_codes: bool
    connect_ips: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings(Record):
    """Delivery status notifications.

    Attributes:
        notify: Events to be reported for messages that do not say; may be empty.
        ret: How much of the message a report returns.
        envelope: Sender of reports, ``None`` = the null sender.
        author: In their ``From``, ``None`` = ``mailer-daemon`` at this host.
        mta: Name of the reporting server, ``None`` = the name of this host.
        delay_after: Seconds from the first due pick-up until a delay is reported.
    """

    PREFIX: ClassVar[str] = "dsn-"
    RENAMED: ClassVar[Mapping[str, str]] = {"author": "dsn-from"}

    notify: tuple[str, ...]
    ret: Literal["FULL", "HDRS"]
    envelope: str | None
    author: str | None
    mta: str | None
    delay_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings(Record):
    """The message store.

    Attributes:
        address: Where it is, ``None`` = there is none.
        policy: When bodies are stored and deleted.
        ttl: Seconds added to the last delivery time of a message.
        timeout: Seconds for one operation.
        reschedule: Seconds until a retry after a failure of the store.
        threads: Operations at the same time.
    """

    PREFIX: ClassVar[str] = "storage-"

    address: StoreAddress | None
    policy: Literal["all", "out", "in", "none"]
    ttl: float
    timeout: float
    reschedule: float
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings(Record):
    """The outcome journal.

    Attributes:
        directory: Its folder, ``auto`` = the usual one, ``None`` = there is no journal.
        sync: When notes are safe from a power cut.
        max_size: Bytes of the notes of one worker.
        failure: Whether mail is sent while nothing can be noted.
    """

    PREFIX: ClassVar[str] = "journal-"

    directory: str | None
    sync: Literal["always", "second", "never"]
    max_size: int
    failure: Literal["continue", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings(Record):
    """HTTP of the supervisor.

    Attributes:
        ip: Addresses to listen on.
        port: Ports for HTTP; empty = none.
        secure_port: Ports for HTTPS; empty = none.
        certificate: File for HTTPS.
        privatekey: File with its key.
        ciphers: Of OpenSSL, ``None`` = the library's.
        api_tokens: File of hashed tokens.
        connections: Requests answered at the same time.
        metrics: ``/metrics`` is served.
    """

    PREFIX: ClassVar[str] = "www-"

    ip: tuple[str, ...]
    port: tuple[int, ...]
    secure_port: tuple[int, ...]
    certificate: str | None
    privatekey: str | None
    ciphers: str | None
    api_tokens: str | None
    connections: int
    metrics: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings(Record):
    """Downloads for messages built from JSON.

    Attributes:
        cache: Store that keeps resources, ``None`` = only memory does.
        ttl: Longest time in seconds a resource is used again.
        user_agent: Header of requests.
        blacklist: Networks never connected to.
        whitelist: Exceptions: network and port, ``None`` = every port.
        timeout: Seconds for one resource.
        maxsize: Bytes of one resource.
    """

    PREFIX: ClassVar[str] = "download-"

    cache: StoreAddress | None
    ttl: float
    user_agent: str | None
    blacklist: tuple[IpNetwork, ...]
    whitelist: tuple[tuple[IpNetwork, int | None], ...]
    timeout: float
    maxsize: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings(Record):
    """The database of rules.

    Attributes:
        address: Where it is, ``None`` = there is none.
        ttl: Seconds after which it is read again.
        validate: Tables and columns that are missing stop the start.
    """

    PREFIX: ClassVar[str] = "database-"

    address: StoreAddress | None
    ttl: float
    validate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings(Record):
    """The application log, and the send log.

    Attributes:
        targets: ``stdout``, ``stderr``, ``syslog`` and absolute paths; may be empty.
        level: Least important events.
        format: For people or for programs.
        send_file: Absolute path of the send log, ``None`` = there is none.
        send_format: What its lines contain: ``None`` = the usual fields, ``json``, or a template.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        "send_file": "send-log-file",
        "send_format": "send-log-format",
        "targets": "application-log",
        "level": "log-level",
        "format": "application-log-format",
    }

    targets: tuple[str, ...]
    level: Literal["debug", "info", "warning", "critical"]
    format: Literal["text", "json"]
    send_file: str | None
    send_format: str | None
