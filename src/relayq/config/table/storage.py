"""What is kept or fetched besides messages: bodies, notes of outcomes, downloads, rules."""

from __future__ import annotations

from relayq import __version__
from relayq.config.name_types import path_or_auto, string
from relayq.config.network_types import database_address, networks, networks_with_ports, proxy_address, store_address
from relayq.config.table.row import RELOAD, RESTART, YES, A, B, C, row
from relayq.config.value_types import boolean, integer, one_of, seconds, size, timeout

# Never fetched from unless allowed: loopback, private, shared, link-local, unspecified, multicast, reserved,
# documentation and benchmark networks (IANA special-purpose registries), and the forms that embed an IPv4 address
# (mapped, NAT64, 6to4), which would lead around the first half of the list.
_NOT_PUBLIC = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.0.2.0/24,"
    "192.168.0.0/16,198.18.0.0/15,198.51.100.0/24,203.0.113.0/24,224.0.0.0/4,240.0.0.0/4,"
    "::/128,::1/128,::ffff:0:0/96,64:ff9b::/96,64:ff9b:1::/48,100::/64,2001:2::/48,2001:db8::/32,2002::/16,"
    "3fff::/20,fc00::/7,fe80::/10,fec0::/10,ff00::/8"
)

STORE = (
    row(
        "storage-address",
        store_address(),
        "",
        A,
        RESTART,
        "Store of message bodies; empty = none. Some need a library, see storage.md.",
        YES,
        secret=True,
    ),
    row(
        "storage-policy",
        one_of("all", "out", "in", "none"),
        "all",
        A,
        RELOAD,
        "Which way of a message its body is stored and deleted on.",
        YES,
    ),
    row("storage-ttl", seconds(), "3600", A, RELOAD, "Bodies live this much longer than their message.", YES),
    row("storage-timeout", timeout(), "20", A, RELOAD, "One operation of the store.", YES),
    row("storage-reschedule", seconds(1), "120", A, RELOAD, "Retry after a failure of the store.", YES),
    row("storage-threads", integer(1, 256), "1", B, RESTART, "Operations at the same time, per worker.", YES),
)

JOURNAL = (
    row(
        "journal-directory",
        path_or_auto(),
        "auto",
        B,
        RESTART,
        "Folder of the outcome journal, which keeps a mail from being sent twice after a crash; empty = none.",
        YES,
        note="`/var/lib/relayq/journal`, else below `~/.local/state`",
    ),
    row(
        "journal-sync",
        one_of("always", "second", "never"),
        "second",
        B,
        RESTART,
        "When notes are safe from a power cut: before the mail is sent, within a second, or when the system likes.",
        YES,
    ),
    row("journal-max-size", size(), "256MB", B, RESTART, "Notes of one worker are kept below this.", YES),
    row(
        "journal-failure",
        one_of("continue", "stop"),
        "continue",
        B,
        RESTART,
        "What happens while the journal cannot be written: mail is sent without notes, or not at all.",
        YES,
    ),
)

DOWNLOADS = (
    row("download-cache", store_address(), "", B, RESTART, "Store that keeps downloads.", YES, secret=True),
    row("download-ttl", seconds(), "3600", B, RELOAD, "Longest time a download is reused.", YES),
    row("download-user-agent", string(), f"relayq/{__version__}", A, RELOAD, "User-Agent of downloads.", YES),
    row(
        "download-blacklist",
        networks(),
        _NOT_PUBLIC,
        A,
        RELOAD,
        "Networks nothing is fetched from, checked at every redirect.",
        YES,
        note="all networks that are not public",
    ),
    row("download-whitelist", networks_with_ports(), "", A, RELOAD, "Exceptions to that.", YES),
    row(
        "download-proxy",
        proxy_address(),
        "",
        C,
        RELOAD,
        "Proxy for downloads; empty = none.",
        YES,
        note="the value of `proxy-server`",
    ),
    row("download-timeout", timeout(), "10", A, RELOAD, "One download.", YES),
    row("download-maxsize", size(), "10MB", A, RELOAD, "One download.", YES),
)

DATABASE = (
    row("database-address", database_address(), "", B, RESTART, "Database of rules; empty = none.", YES, secret=True),
    row("database-ttl", seconds(1), "600", B, RELOAD, "Rules are read again after this long.", YES),
    row("database-validate", boolean(), "true", B, RESTART, "Check the tables at the start.", YES),
)
