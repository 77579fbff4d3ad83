"""How mail is sent: when, to whom, over which connections, and what is told about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from relayq.config.records.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping


Strictness = Literal["strict", "loose"]


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
        secrets: Whether private keys and passwords of the message stay in them.
    """

    PREFIX: ClassVar[str] = "result-"

    format: Literal["basic", "extended"]
    local_codes: bool
    connect_ips: bool
    secrets: Literal["keep", "strip"]


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
