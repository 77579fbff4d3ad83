"""Other ways in: the SMTP server and the spool folder."""

from __future__ import annotations

from relayq.config.name_types import path, string
from relayq.config.network_types import authentication, host, ip_list, networks, port, ports
from relayq.config.table.row import NOT_YET, RELOAD, RESTART, C, row
from relayq.config.value_types import Empty, boolean, integer, one_of, seconds, size, timeout, words

_STRICTNESS = one_of("strict", "loose")

SMTP_SERVER = (
    row("smtp-port", ports(), "", C, RESTART, "Ports of the SMTP server; empty = none.", NOT_YET),
    row("smtp-secure-port", ports(), "", C, RESTART, "Ports on which TLS comes first.", NOT_YET),
    row("smtp-ip", ip_list(), "", C, RESTART, "Addresses these ports are opened on.", NOT_YET, note="all"),
    row("smtp-certificate", path(), "", C, RELOAD, "Certificate; with it STARTTLS is offered.", NOT_YET),
    row("smtp-key", path(), "", C, RELOAD, "Key of that certificate.", NOT_YET),
    row("smtp-ciphers", string(), "", C, RELOAD, "Cipher list of OpenSSL.", NOT_YET),
    row("smtp-auth", authentication(), "", C, RELOAD, "Users that may send.", NOT_YET, secret=True),
    row("smtp-range", networks(), "127.0.0.0/8,::1/128", C, RELOAD, "Networks that may send without login.", NOT_YET),
    row("smtp-proxy", networks(), "", C, RELOAD, "Networks of proxies that send a PROXY header.", NOT_YET),
    row("smtp-extract", boolean(), "true", C, RELOAD, "Turn `x-mq-` headers into members of the message.", NOT_YET),
    row(
        "smtp-validate-address", _STRICTNESS, "strict", C, RELOAD, "How exact addresses from clients must be.", NOT_YET
    ),
    row("smtp-maxsize", size(), "100MB", C, RELOAD, "Largest message taken.", NOT_YET),
    row("smtp-timeout", timeout(), "300", C, RELOAD, "Longest silence of a client.", NOT_YET),
    row("smtp-protection", boolean(), "true", C, RELOAD, "Obey the list of blocked clients.", NOT_YET),
    row("smtp-mappable-ips", networks(), "", C, RELOAD, "Local addresses also used to send what they took.", NOT_YET),
    row("smtp-unmappable-ips", networks(), "", C, RELOAD, "Exceptions to that.", NOT_YET),
    row("smtp-check", words("spf", "dkim", "dmarc", "spam"), "", C, RELOAD, "Checks of incoming mail.", NOT_YET),
    row(
        "smtp-auth-results",
        words("local", "nonlocal"),
        "",
        C,
        RELOAD,
        "Mail that gets an Authentication-Results header.",
        NOT_YET,
    ),
    row(
        "spamassassin-host", host(empty=Empty.USE_DEFAULT), "localhost", C, RELOAD, "Host of the spam filter.", NOT_YET
    ),
    row("spamassassin-port", port(), "783", C, RELOAD, "Its port.", NOT_YET),
)

SPOOL = (
    row("spool-directory", path(), "", C, RESTART, "Folder whose files are mailed.", NOT_YET),
    row("spool-fail-directory", path(), "", C, RELOAD, "Where unusable files go; empty = they stay.", NOT_YET),
    row("spool-delay", seconds(), "0", C, RELOAD, "Age a file must have.", NOT_YET),
    row("spool-remove", boolean(), "true", C, RELOAD, "Delete files once the broker has them.", NOT_YET),
    row("spool-extract", boolean(), "true", C, RELOAD, "Turn `x-mq-` headers into members of the message.", NOT_YET),
    row("spool-open-files", integer(1), "10", C, RELOAD, "Files read at the same time.", NOT_YET),
    row("spool-threads", integer(1), "1", C, RESTART, "Threads that read them.", NOT_YET),
)
