"""Every setting there is: name, type, default, tier, reload, sentence, and which of its values already work.

This table is the only place that knows the settings (spec config.md 8): reading, checking, the reference page and the
list of effective values all follow it. To switch a feature on, change the last argument of its rows, nothing else
here: ``YES`` = every value works, ``NOT_YET`` = only the default, ``only(…)`` = the default and these.
"""

from __future__ import annotations

from relayq import __version__
from relayq.config.broker_address import DEFAULT_ADDRESS
from relayq.config.name_types import (
    account,
    exchange,
    line_template,
    log_targets,
    mail_address,
    needed_queue,
    notify_words,
    path,
    path_or_auto,
    queue,
    server_id,
    string,
    strings,
)
from relayq.config.network_types import (
    authentication,
    broker_addresses,
    cluster_addresses,
    database_address,
    host,
    host_name,
    ip_list,
    ip_port_list,
    networks,
    networks_with_ports,
    port,
    ports,
    proxy_address,
    store_address,
)
from relayq.config.setting import Section, Setting, Supported, Tier
from relayq.config.value_types import (
    Empty,
    ValueType,
    boolean,
    durations,
    integer,
    milliseconds,
    one_of,
    seconds,
    size,
    timeout,
    words,
)

_A, _B, _C = Tier.A, Tier.B, Tier.C
# Taken over by a reload, or only by a restart.
_R, _FIXED = True, False

YES = Supported.YES
NOT_YET = Supported.NOT_YET
DNS_PORT = 53
_NO_SINK = "0.0.0.0"  # noqa: S104 - nothing is bound to it: MailerQ's word for "off"

# Never fetched from unless allowed: loopback, private, shared, link-local, unspecified, multicast, reserved,
# documentation and benchmark networks (IANA special-purpose registries), and the forms that embed an IPv4 address
# (mapped, NAT64, 6to4), which would lead around the first half of the list.
_DOWNLOAD_BLACKLIST = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.0.2.0/24,"
    "192.168.0.0/16,198.18.0.0/15,198.51.100.0/24,203.0.113.0/24,224.0.0.0/4,240.0.0.0/4,"
    "::/128,::1/128,::ffff:0:0/96,64:ff9b::/96,64:ff9b:1::/48,100::/64,2001:2::/48,2001:db8::/32,2002::/16,"
    "3fff::/20,fc00::/7,fe80::/10,fec0::/10,ff00::/8"
)


def only(*texts: str) -> tuple[str, ...]:
    """Mark a setting of which, besides the default, only these values work yet."""
    return texts


def _row(
    key: str,
    type_: ValueType,
    default: str,
    tier: Tier,
    reloadable: bool,
    sentence: str,
    supported: Supported | tuple[str, ...],
    *,
    secret: bool = False,
    note: str = "",
) -> Setting:
    return Setting(
        key=key,
        type=type_,
        default=default,
        default_note=note,
        tier=tier,
        reloadable=reloadable,
        secret=secret,
        sentence=sentence,
        supported=supported,
    )


_PROCESS = (
    _row("config-file", path(), "", _A, _FIXED, "One more file, read after the default one; not inside a file.", YES),
    _row("user", account(), "", _B, _FIXED, "Identity taken on once the ports are open, when started as root.", YES),
    _row("lock", path(), "", _B, _FIXED, "File with the process id, locked so that a second start fails.", YES),
    _row("daemon", boolean(), "false", _B, _FIXED, "The server leaves the terminal after its start.", YES),
    _row("server-id", server_id(), "", _B, _FIXED, "Tells instances apart: in ids, connection names and logs.", YES),
    _row(
        "hostname",
        host_name(),
        "",
        _A,
        _FIXED,
        "Own name in injected messages and reports, and the last resort for EHLO.",
        YES,
        note="the full name of the system",
    ),
    _row("paused", boolean(), "false", _B, _FIXED, "Start without delivering anything until told to.", NOT_YET),
    _row("shutdown-timeout", seconds(), "60", _B, _R, "A stop waits this long for running SMTP transactions.", YES),
    _row("smtp-threads", integer(0, 256), "0", _B, _FIXED, "Worker processes; 0 = one per processor core.", YES),
    _row("plugin-directory", path(), "", _C, _FIXED, "Folder of plugins, loaded in alphabetical order.", NOT_YET),
)

_BROKER = (
    _row(
        "rabbitmq-address",
        broker_addresses(),
        DEFAULT_ADDRESS,
        _A,
        _FIXED,
        "Broker or members of its cluster; `embedded:` works without RabbitMQ, in one file of this machine.",
        YES,
        secret=True,
    ),
    _row("rabbitmq-verify", boolean(), "true", _A, _FIXED, "Check the certificates of `amqps://` brokers.", YES),
    _row("rabbitmq-outbox", needed_queue(), "outbox", _A, _FIXED, "The queue messages are taken from.", YES),
    _row("rabbitmq-results", queue(), "", _A, _R, "Gets every final result.", YES),
    _row("rabbitmq-success", queue(), "", _A, _R, "Gets the final result of delivered messages.", YES),
    _row("rabbitmq-failure", queue(), "", _A, _R, "Gets the final result of messages given up.", YES),
    _row("rabbitmq-retry", queue(), "", _A, _R, "Gets results of attempts that will be repeated.", YES),
    _row(
        "rabbitmq-queues-override",
        one_of("replace", "merge"),
        "replace",
        _A,
        _R,
        "Queues named in a message replace the configured ones altogether, or only those they name.",
        YES,
    ),
    _row("rabbitmq-invalid", queue(), "", _B, _R, "Gets exact copies of messages nobody could read.", YES),
    _row("rabbitmq-dsn", queue(), "", _B, _R, "Where generated delivery reports go, usually the outbox.", YES),
    _row(
        "rabbitmq-inbox",
        queue(),
        "",
        _B,
        _R,
        "Where injected messages go; explicitly empty = thrown away.",
        YES,
        note="the value of `rabbitmq-outbox`",
    ),
    _row(
        "rabbitmq-held",
        queue(),
        "",
        _B,
        _FIXED,
        "Gets messages that may have been accepted before a crash, instead of sending them again.",
        YES,
    ),
    _row("rabbitmq-local", queue(), "", _C, _R, "Gets incoming mail for local addresses.", NOT_YET),
    _row("rabbitmq-reports", queue(), "", _C, _R, "Gets incoming delivery reports.", NOT_YET),
    _row("rabbitmq-refused", queue(), "", _C, _R, "Gets incoming mail that was refused.", NOT_YET),
    _row("rabbitmq-exchange", exchange(), "", _B, _FIXED, "Exchange to publish to; empty = the default one.", YES),
    _row("rabbitmq-declare", boolean(), "true", _A, _FIXED, "Create queues, exchange and bindings.", YES),
    _row("rabbitmq-durable", boolean(), "true", _A, _FIXED, "What is created outlives a restart of the broker.", YES),
    _row("rabbitmq-persistent", boolean(), "true", _A, _R, "What is published outlives a restart of the broker.", YES),
    _row("rabbitmq-lazy", boolean(), "false", _B, _FIXED, "Queues keep messages on disk; before RabbitMQ 3.12.", YES),
    _row(
        "rabbitmq-maxpriority", integer(0, 255), "0", _B, _FIXED, "Highest priority of created queues; 0 = none.", YES
    ),
    _row(
        "rabbitmq-queue-type",
        one_of("auto", "classic", "quorum"),
        "auto",
        _B,
        _FIXED,
        "Type of created queues; `auto` leaves it to the virtual host.",
        YES,
    ),
    _row(
        "rabbitmq-delivery-limit", integer(1), "1000", _B, _FIXED, "Deliveries after which a quorum outbox drops.", YES
    ),
    _row("rabbitmq-consumers", integer(1, 64), "1", _B, _FIXED, "Consuming connections of each worker.", only("1")),
    _row("rabbitmq-publishers", integer(1, 64), "1", _B, _FIXED, "Publishing connections of each worker.", only("1")),
    _row("rabbitmq-qos", integer(1, 65535), "1000", _A, _R, "Messages a consumer holds at once.", YES),
    _row("rabbitmq-minqos", integer(1, 65535), "100", _B, _R, "Never scaled below this unless memory is short.", YES),
    _row("rabbitmq-flush-qos", integer(1, 65535), "1000", _B, _R, "Messages held while parking queues drain.", YES),
    _row("rabbitmq-throttle", integer(1, 65535), "100", _B, _R, "Unconfirmed publishes of one publisher.", YES),
    _row("rabbitmq-encoding", one_of("gzip", empty=None), "", _B, _R, "Compress what is published.", YES),
    _row(
        "rabbitmq-max-hold",
        seconds(10, 3600),
        "600",
        _A,
        _R,
        "Longest wait in memory for the start of an SMTP transaction.",
        YES,
    ),
    _row(
        "rabbitmq-ack-limit",
        seconds(70, 7200),
        "1500",
        _A,
        _R,
        "Longest time from consuming to acknowledging; stay below the consumer timeout of the broker.",
        YES,
    ),
    _row("rabbitmq-max-memory", size(), "256MB", _B, _R, "Message bodies held by a worker before it scales back.", YES),
    _row("rabbitmq-max-consume", size(), "128MB", _A, _R, "Larger messages, after unpacking, are malformed.", YES),
    _row("rabbitmq-max-publish", size(), "0", _B, _R, "Largest message published; 0 = as the broker can.", YES),
    _row(
        "rabbitmq-max-redeliveries",
        integer(),
        "0",
        _C,
        _R,
        "Refuse messages a quorum outbox has handed out this often before; 0 = never.",
        YES,
    ),
    _row("rabbitmq-delay", one_of("ttl", "plugin"), "ttl", _C, _FIXED, "How messages wait for their time.", NOT_YET),
)

_MODE = one_of("strict", "loose")
_DELIVERY = (
    _row(
        "max-delivertime",
        seconds(),
        "86400",
        _A,
        _R,
        "Give up this long after the first pick-up; 0 = never. A message can say otherwise.",
        YES,
    ),
    _row(
        "max-attempts", integer(), "0", _A, _R, "Give up after this many; 0 = never. A message can say otherwise.", YES
    ),
    _row(
        "retry-interval",
        durations(),
        "600,600,1800,1800,3600,3600,7200",
        _A,
        _R,
        "Waits after the first, second, … attempt; the last one repeats.",
        YES,
    ),
    _row("validate-envelope", _MODE, "strict", _A, _R, "How exact the syntax of senders must be.", YES),
    _row("validate-recipient", _MODE, "strict", _A, _R, "How exact the syntax of recipients must be.", YES),
    _row("smtp-default-ips", ip_list(), "", _A, _R, "Local addresses to send from; empty = the system's choice.", YES),
    _row(
        "delay-property",
        one_of("delayed", "nextattempt"),
        "delayed",
        _B,
        _R,
        "Member that carries the due time of a retry.",
        YES,
    ),
    _row("retry-jitter", integer(0, 50, unit="percent"), "0", _C, _R, "Random share added to every interval.", YES),
    _row(
        "smtp-out-hostname",
        host_name(),
        "",
        _A,
        _R,
        "Name in EHLO; empty = the confirmed reverse name of the local address, then `hostname`.",
        YES,
    ),
    _row(
        "smtp-out-security",
        one_of("optional", "opportunistic", "required", "verified"),
        "opportunistic",
        _A,
        _R,
        "How much encryption is insisted on.",
        YES,
    ),
    _row("smtp-out-tls-min", one_of("1.0", "1.1", "1.2", "1.3"), "1.2", _A, _R, "Oldest TLS version used.", YES),
    _row(
        "dane",
        one_of("auto", "never"),
        "auto",
        _C,
        _R,
        "Hold certificates against TLSA records where DNSSEC vouches for them; `auto` = with a validating resolver.",
        YES,
    ),
    _row("mta-sts", one_of("auto", "never"), "never", _C, _R, "Look for MTA-STS policies and honour them.", YES),
    _row("auth-plaintext", boolean(), "false", _A, _R, "Passwords may travel without TLS.", YES),
    _row("smtp-out-port", port(), "25", _A, _R, "Port of the servers found by MX records.", YES),
    _row(
        "smtp-out-ipv6",
        one_of("auto", "yes", "no"),
        "auto",
        _B,
        _R,
        "Whether to connect over IPv6; `auto` = when there is a local IPv6 address.",
        YES,
    ),
    _row("ip-order", one_of("v4first", "v6first"), "v4first", _A, _R, "Which addresses of a host come first.", YES),
    _row("smtp-max-hosts", integer(2), "5", _A, _R, "Addresses tried in one attempt.", YES),
    _row("host-offline-time", seconds(), "300", _A, _R, "How long a failing pair of addresses is left alone.", YES),
    _row("host-backoff-time", seconds(), "60", _A, _R, "No more connections to a pair that refused one.", YES),
    _row("failover-on-4xx", boolean(), "false", _C, _R, "Try the next host when one defers the mail.", YES),
    _row("intro-5xx", one_of("fail", "retry"), "fail", _A, _R, "What a 5xx greeting of every host means.", YES),
    _row("auth-5xx", one_of("fail", "retry"), "retry", _A, _R, "What a refused login means.", YES),
    _row("smtp-out-timeout-connect", timeout(), "30", _A, _R, "Opening a connection to one address.", YES),
    _row("smtp-out-timeout-intro", timeout(), "300", _A, _R, "The greeting.", YES),
    _row("smtp-out-timeout-ehlo", timeout(), "300", _A, _R, "Replies to EHLO, HELO and RSET.", YES),
    _row("smtp-out-timeout-starttls", timeout(), "120", _A, _R, "The reply to STARTTLS; again the handshake.", YES),
    _row("smtp-out-timeout-auth", timeout(), "120", _A, _R, "Each step of a login.", YES),
    _row("smtp-out-timeout-mailfrom", timeout(), "300", _A, _R, "The reply to MAIL FROM.", YES),
    _row("smtp-out-timeout-rcptto", timeout(), "300", _A, _R, "The reply to RCPT TO.", YES),
    _row("smtp-out-timeout-data", timeout(), "120", _A, _R, "The reply to DATA.", YES),
    _row("smtp-out-timeout-block", timeout(), "180", _A, _R, "A write that makes no progress.", YES),
    _row("smtp-out-timeout-message", timeout(), "600", _A, _R, "The reply to the end of the message.", YES),
    _row("smtp-out-timeout-quit", timeout(), "5", _A, _R, "The reply to QUIT.", YES),
    _row("smtp-bdat", one_of("never", "auto"), "never", _C, _R, "Send content with BDAT where it is offered.", YES),
    _row(
        "8bit",
        one_of("convert", "send"),
        "convert",
        _A,
        _R,
        "What becomes of 8-bit content when the server does not offer 8BITMIME.",
        YES,
    ),
    _row("long-lines", one_of("keep", "wrap", "fail"), "keep", _B, _R, "Lines above 998 octets.", YES),
    _row("inlinecss-important", boolean(), "true", _C, _R, "Rules kept in a style sheet get `!important`.", YES),
    _row("dkim-oversign", boolean(), "true", _B, _R, "Sign headers once more than they occur.", YES),
    _row("personalize-headers", strings(), "subject", _C, _R, "Headers that are templates.", YES),
    _row("personalize-escape", one_of("none", "html"), "none", _C, _R, "How inserted values are escaped.", YES),
    _row("responsive-icons", string(), "", _C, _R, "Address pattern of icons.", YES),
    _row("responsive-autotext", boolean(), "true", _B, _R, "Make a text part out of blocks.", YES),
    _row("result-format", one_of("basic", "extended"), "basic", _B, _R, "How much a result tells.", YES),
    _row("result-local-codes", boolean(), "false", _C, _R, "Give failures found on this side a reply code.", YES),
    _row("result-connect-ips", boolean(), "false", _C, _R, "Name the addresses of failed connections.", YES),
    _row("extracted", boolean(), "false", _C, _R, "Results tell what was read out of the content.", NOT_YET),
    _row("result-secrets", one_of("keep", "strip"), "keep", _B, _R, "Keys and passwords in results.", NOT_YET),
    _row("smarthost", host(), "", _A, _R, "Server that takes all mail instead of the MX hosts.", YES),
    _row("smarthost-port", port(), "25", _A, _R, "Its port.", YES),
    _row("smarthost-username", string(), "", _A, _R, "Login there; empty = none.", YES, secret=True),
    _row("smarthost-password", string(), "", _A, _R, "Password of that login.", YES, secret=True),
    _row(
        "smtp-sink-address",
        host(off=_NO_SINK),
        "",
        _B,
        _FIXED,
        "For trials: every connection goes to this server, whatever DNS says; `0.0.0.0` = off.",
        YES,
    ),
    _row("smtp-sink-port", port(), "25", _B, _FIXED, "Its port.", YES),
    _row("smtp-sink-username", string(), "", _B, _FIXED, "Login there; empty = none.", YES, secret=True),
    _row("smtp-sink-password", string(), "", _B, _FIXED, "Password of that login.", YES, secret=True),
    _row("smtp-connections", integer(1), "1000", _A, _R, "Open SMTP connections of all workers together.", YES),
    _row("smtp-connections-out", integer(), "0", _B, _R, "Outgoing ones among them; 0 = no limit of their own.", YES),
    _row(
        "smtp-connections-in", integer(), "0", _B, _R, "Incoming ones among them; 0 = no limit of their own.", NOT_YET
    ),
    _row("proxy-server", proxy_address(), "", _C, _R, "Proxy for downloads.", NOT_YET),
)

_PER_MINUTE = "per minute"
_THROTTLE = (
    _row(
        "domain-maxmessages", integer(unit=_PER_MINUTE), "0", _B, _R, "Messages, per local address and domain.", NOT_YET
    ),
    _row(
        "domain-maxconnects",
        integer(unit=_PER_MINUTE),
        "0",
        _B,
        _R,
        "New connections, per local address and domain.",
        NOT_YET,
    ),
    _row("domain-maxconnections", integer(), "0", _B, _R, "Open connections, per local address and domain.", NOT_YET),
    _row(
        "domain-maxqueue", integer(), "500", _B, _R, "Messages in a worker's memory, per local address and domain.", YES
    ),
    _row("ip-maxmessages", integer(unit=_PER_MINUTE), "0", _B, _R, "Messages, per local and remote address.", NOT_YET),
    _row(
        "ip-maxconnects",
        integer(unit=_PER_MINUTE),
        "0",
        _B,
        _R,
        "New connections, per local and remote address.",
        NOT_YET,
    ),
    _row("ip-maxconnections", integer(), "20", _A, _R, "Open connections, per local and remote address.", YES),
    _row("connection-maxmessages", integer(), "0", _A, _R, "Messages over one connection.", YES),
    _row("connection-maxidle", milliseconds(), "5000", _A, _R, "How long an idle connection is kept.", YES),
)

_REPORTS = (
    _row("dsn-notify", notify_words(), "", _B, _R, "Reports wanted for messages that do not say.", YES),
    _row("dsn-ret", one_of("FULL", "HDRS"), "HDRS", _B, _R, "How much of the message a report returns.", YES),
    _row("dsn-envelope", mail_address(), "", _B, _R, "Sender of reports; empty = the null sender.", YES),
    _row(
        "dsn-from",
        mail_address(),
        "",
        _B,
        _R,
        "From header of reports.",
        YES,
        note="`mailer-daemon@` and `hostname`",
    ),
    _row("dsn-mta", host_name(), "", _B, _R, "Name of the reporting server.", YES, note="`hostname`"),
    _row("dsn-delay-after", seconds(), "14400", _C, _R, "Age at which a delay is reported.", YES),
    _row("dsn-advertise", boolean(), "true", _C, _R, "The SMTP server offers reports.", NOT_YET),
)

_DNS = (
    _row("dns-nameservers", ip_port_list(DNS_PORT), "", _A, _R, "Servers to ask instead of the system's.", YES),
    _row("dns-timeout", timeout(), "60.0", _A, _R, "Wait after the last query of a lookup.", YES),
    _row("dns-interval", timeout(), "3.0", _A, _R, "Wait before a query is sent again.", YES),
    _row("dns-attempts", integer(1, 20), "5", _A, _R, "Queries before a lookup is given up.", YES),
    _row("dns-capacity", integer(1), "100", _B, _R, "Lookups at the same time.", YES),
    _row("dns-sockets", integer(1, 64), "4", _C, _FIXED, "Source ports used in turn.", NOT_YET),
    _row("dns-buffersize", size(), "1MB", _C, _FIXED, "Buffers of these sockets.", NOT_YET),
    _row("dns-rotate", boolean(), "false", _B, _R, "Spread lookups over the servers.", YES),
    _row("dns-min-ttl", seconds(1), "60", _B, _R, "Shorter lived answers are kept this long.", YES),
    _row("dns-max-ttl", seconds(1), "86400", _B, _R, "Longer lived answers are kept this long.", YES),
    _row("dns-negative-ttl", seconds(60), "300", _B, _R, "Longest time to remember that a name does not exist.", YES),
)

_STORE = (
    _row(
        "storage-address",
        store_address(),
        "",
        _A,
        _FIXED,
        "Store of message bodies; empty = none. Some need a library, see storage.md.",
        YES,
        secret=True,
    ),
    _row(
        "storage-policy",
        one_of("all", "out", "in", "none"),
        "all",
        _A,
        _R,
        "Which way of a message its body is stored and deleted on.",
        YES,
    ),
    _row("storage-ttl", seconds(), "3600", _A, _R, "Bodies live this much longer than their message.", YES),
    _row("storage-timeout", timeout(), "20", _A, _R, "One operation of the store.", YES),
    _row("storage-reschedule", seconds(1), "120", _A, _R, "Retry after a failure of the store.", YES),
    _row("storage-threads", integer(1, 256), "1", _B, _FIXED, "Operations at the same time, per worker.", YES),
)

_JOURNAL = (
    _row(
        "journal-directory",
        path_or_auto(),
        "auto",
        _B,
        _FIXED,
        "Folder of the outcome journal, which keeps a mail from being sent twice after a crash; empty = none.",
        YES,
        note="`/var/lib/relayq/journal`, else below `~/.local/state`",
    ),
    _row(
        "journal-sync",
        one_of("always", "second", "never"),
        "second",
        _B,
        _FIXED,
        "When notes are safe from a power cut: before the mail is sent, within a second, or when the system likes.",
        YES,
    ),
    _row("journal-max-size", size(), "256MB", _B, _FIXED, "Notes of one worker are kept below this.", YES),
    _row(
        "journal-failure",
        one_of("continue", "stop"),
        "continue",
        _B,
        _FIXED,
        "What happens while the journal cannot be written: mail is sent without notes, or not at all.",
        YES,
    ),
)

_DOWNLOADS = (
    _row("download-cache", store_address(), "", _B, _FIXED, "Store that keeps downloads.", YES, secret=True),
    _row("download-ttl", seconds(), "3600", _B, _R, "Longest time a download is reused.", YES),
    _row("download-user-agent", string(), f"relayq/{__version__}", _A, _R, "User-Agent of downloads.", YES),
    _row(
        "download-blacklist",
        networks(),
        _DOWNLOAD_BLACKLIST,
        _A,
        _R,
        "Networks nothing is fetched from, checked at every redirect.",
        YES,
        note="all networks that are not public",
    ),
    _row("download-whitelist", networks_with_ports(), "", _A, _R, "Exceptions to that.", YES),
    _row(
        "download-proxy",
        proxy_address(),
        "",
        _C,
        _R,
        "Proxy for downloads.",
        NOT_YET,
        note="the value of `proxy-server`",
    ),
    _row("download-timeout", timeout(), "10", _A, _R, "One download.", YES),
    _row("download-maxsize", size(), "10MB", _A, _R, "One download.", YES),
)

_DATABASE = (
    _row("database-address", database_address(), "", _B, _FIXED, "Database of rules; empty = none.", YES, secret=True),
    _row("database-ttl", seconds(1), "600", _B, _R, "Rules are read again after this long.", YES),
    _row("database-validate", boolean(), "true", _B, _FIXED, "Check the tables at the start.", YES),
)

_LOGGING = (
    _row("application-log", log_targets(), "stderr", _A, _R, "Where own events are logged.", YES),
    _row(
        "log-level",
        one_of("debug", "info", "warning", "critical"),
        "info",
        _B,
        _R,
        "Least important events that are logged.",
        YES,
    ),
    _row("application-log-format", one_of("text", "json"), "text", _B, _R, "Lines for people or for programs.", YES),
    _row("send-log-file", path(), "", _B, _R, "Log with a line per attempt.", YES),
    _row(
        "send-log-format",
        line_template(),
        "",
        _B,
        _R,
        "What such a line contains: `json`, or a template with `$email`, `$result`, `$attempt`, `$date`, `$time`.",
        YES,
        note="MailerQ's fields",
    ),
    _row("received-log-file", path(), "", _C, _R, "Log with a line per message received.", NOT_YET),
    _row("received-log-format", string(), "", _C, _R, "What such a line contains.", NOT_YET, note="MailerQ's fields"),
    _row("download-log-file", path(), "", _C, _R, "Log with a line per download.", NOT_YET),
    _row("download-log-format", string(), "", _C, _R, "What such a line contains.", NOT_YET, note="MailerQ's fields"),
    _row("www-log-file", path(), "", _C, _R, "Log with a line per HTTP request.", NOT_YET),
    _row("www-log-format", string(), "", _C, _R, "What such a line contains.", NOT_YET, note="MailerQ's fields"),
)

_HTTP = (
    _row("www-port", ports(), "", _B, _FIXED, "Ports for HTTP; empty = none.", YES),
    _row("www-ip", ip_list(), "127.0.0.1", _B, _FIXED, "Addresses these ports are opened on.", YES),
    _row("www-secure-port", ports(), "", _B, _FIXED, "Ports for HTTPS; next to them HTTP only redirects.", YES),
    _row("www-certificate", path(), "", _B, _R, "Certificate for HTTPS.", YES),
    _row("www-privatekey", path(), "", _B, _R, "Key of that certificate.", YES),
    _row("www-ciphers", string(), "", _B, _R, "Cipher list of OpenSSL.", YES, note="the library's"),
    _row("www-auth", authentication(), "", _B, _R, "Users of the console; empty = no console.", NOT_YET, secret=True),
    _row("www-api-tokens", path(), "", _B, _R, "File of hashed tokens of the API.", YES),
    _row("www-connections", integer(1), "10", _B, _R, "HTTP connections at the same time.", YES),
    _row("www-metrics", boolean(), "true", _B, _R, "Serve metrics on the same ports.", YES),
    _row("www-dir", path(), "", _C, _FIXED, "Files of the console.", NOT_YET, note="those of the package"),
    _row("www-host", string(), "", _C, _R, "Host name told to the cluster.", NOT_YET, note="found out"),
    _row("www-url", string(), "", _C, _R, "Address told to the cluster.", NOT_YET, note="found out"),
    _row("www-cache-control", string(), "must-revalidate", _C, _R, "Header of console files.", NOT_YET),
    _row("render-useragent", string(), "", _C, _R, "The only browsers that may render mails.", NOT_YET),
)

_SMTP_SERVER = (
    _row("smtp-port", ports(), "", _C, _FIXED, "Ports of the SMTP server; empty = none.", NOT_YET),
    _row("smtp-secure-port", ports(), "", _C, _FIXED, "Ports on which TLS comes first.", NOT_YET),
    _row("smtp-ip", ip_list(), "", _C, _FIXED, "Addresses these ports are opened on.", NOT_YET, note="all"),
    _row("smtp-certificate", path(), "", _C, _R, "Certificate; with it STARTTLS is offered.", NOT_YET),
    _row("smtp-key", path(), "", _C, _R, "Key of that certificate.", NOT_YET),
    _row("smtp-ciphers", string(), "", _C, _R, "Cipher list of OpenSSL.", NOT_YET),
    _row("smtp-auth", authentication(), "", _C, _R, "Users that may send.", NOT_YET, secret=True),
    _row("smtp-range", networks(), "127.0.0.0/8,::1/128", _C, _R, "Networks that may send without login.", NOT_YET),
    _row("smtp-proxy", networks(), "", _C, _R, "Networks of proxies that send a PROXY header.", NOT_YET),
    _row("smtp-extract", boolean(), "true", _C, _R, "Turn `x-mq-` headers into members of the message.", NOT_YET),
    _row("smtp-validate-address", _MODE, "strict", _C, _R, "How exact addresses from clients must be.", NOT_YET),
    _row("smtp-maxsize", size(), "100MB", _C, _R, "Largest message taken.", NOT_YET),
    _row("smtp-timeout", timeout(), "300", _C, _R, "Longest silence of a client.", NOT_YET),
    _row("smtp-protection", boolean(), "true", _C, _R, "Obey the list of blocked clients.", NOT_YET),
    _row("smtp-mappable-ips", networks(), "", _C, _R, "Local addresses also used to send what they took.", NOT_YET),
    _row("smtp-unmappable-ips", networks(), "", _C, _R, "Exceptions to that.", NOT_YET),
    _row("smtp-check", words("spf", "dkim", "dmarc", "spam"), "", _C, _R, "Checks of incoming mail.", NOT_YET),
    _row(
        "smtp-auth-results",
        words("local", "nonlocal"),
        "",
        _C,
        _R,
        "Mail that gets an Authentication-Results header.",
        NOT_YET,
    ),
    _row("spamassassin-host", host(empty=Empty.USE_DEFAULT), "localhost", _C, _R, "Host of the spam filter.", NOT_YET),
    _row("spamassassin-port", port(), "783", _C, _R, "Its port.", NOT_YET),
)

_SPOOL = (
    _row("spool-directory", path(), "", _C, _FIXED, "Folder whose files are mailed.", NOT_YET),
    _row("spool-fail-directory", path(), "", _C, _R, "Where unusable files go; empty = they stay.", NOT_YET),
    _row("spool-delay", seconds(), "0", _C, _R, "Age a file must have.", NOT_YET),
    _row("spool-remove", boolean(), "true", _C, _R, "Delete files once the broker has them.", NOT_YET),
    _row("spool-extract", boolean(), "true", _C, _R, "Turn `x-mq-` headers into members of the message.", NOT_YET),
    _row("spool-open-files", integer(1), "10", _C, _R, "Files read at the same time.", NOT_YET),
    _row("spool-threads", integer(1), "1", _C, _FIXED, "Threads that read them.", NOT_YET),
)

_CLUSTER = (
    _row(
        "cluster-address",
        cluster_addresses(),
        "",
        _C,
        _FIXED,
        "Broker all instances share.",
        NOT_YET,
        secret=True,
        note="the value of `rabbitmq-address`",
    ),
    _row(
        "cluster-exchange",
        exchange(empty=Empty.USE_DEFAULT),
        "cluster",
        _C,
        _FIXED,
        "Exchange they talk over.",
        NOT_YET,
    ),
    _row("cluster-verify", boolean(), "true", _C, _FIXED, "Check its certificate.", NOT_YET),
    _row("cluster-timeout", timeout(), "1", _C, _FIXED, "How long answers of instances are awaited.", NOT_YET),
)

SECTIONS = (
    Section(title="Process", settings=_PROCESS),
    Section(title="RabbitMQ", settings=_BROKER),
    Section(title="Delivery", settings=_DELIVERY),
    Section(title="Base throttle", settings=_THROTTLE),
    Section(title="Delivery status notifications", settings=_REPORTS),
    Section(title="DNS", settings=_DNS),
    Section(title="Message store", settings=_STORE),
    Section(title="Outcome journal", settings=_JOURNAL),
    Section(title="Downloads", settings=_DOWNLOADS),
    Section(title="Database", settings=_DATABASE),
    Section(title="Logging", settings=_LOGGING),
    Section(title="HTTP: metrics, API, console", settings=_HTTP),
    Section(title="SMTP server", settings=_SMTP_SERVER),
    Section(title="Spool directory", settings=_SPOOL),
    Section(title="Cluster", settings=_CLUSTER),
)

TABLE = {setting.key: setting for section in SECTIONS for setting in section.settings}
