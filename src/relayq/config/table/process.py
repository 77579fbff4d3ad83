"""The process itself: its identity, its logs, and the HTTP it serves."""

from __future__ import annotations

from relayq.config.name_types import account, line_template, log_targets, path, server_id, string
from relayq.config.network_types import authentication, host_name, ip_list, ports
from relayq.config.table.row import NOT_YET, RELOAD, RESTART, YES, A, B, C, row
from relayq.config.value_types import boolean, integer, one_of, seconds

PROCESS = (
    row("config-file", path(), "", A, RESTART, "One more file, read after the default one; not inside a file.", YES),
    row("user", account(), "", B, RESTART, "Identity taken on once the ports are open, when started as root.", YES),
    row("lock", path(), "", B, RESTART, "File with the process id, locked so that a second start fails.", YES),
    row("daemon", boolean(), "false", B, RESTART, "The server leaves the terminal after its start.", YES),
    row("server-id", server_id(), "", B, RESTART, "Tells instances apart: in ids, connection names and logs.", YES),
    row(
        "hostname",
        host_name(),
        "",
        A,
        RESTART,
        "Own name in injected messages and reports, and the last resort for EHLO.",
        YES,
        note="the full name of the system",
    ),
    row("paused", boolean(), "false", B, RESTART, "Start without delivering anything until told to.", NOT_YET),
    row("shutdown-timeout", seconds(), "60", B, RELOAD, "A stop waits this long for running SMTP transactions.", YES),
    row("smtp-threads", integer(0, 256), "0", B, RESTART, "Worker processes; 0 = one per processor core.", YES),
    row("plugin-directory", path(), "", C, RESTART, "Folder of plugins, loaded in alphabetical order.", NOT_YET),
)

LOGGING = (
    row("application-log", log_targets(), "stderr", A, RELOAD, "Where own events are logged.", YES),
    row(
        "log-level",
        one_of("debug", "info", "warning", "critical"),
        "info",
        B,
        RELOAD,
        "Least important events that are logged.",
        YES,
    ),
    row("application-log-format", one_of("text", "json"), "text", B, RELOAD, "Lines for people or for programs.", YES),
    row("send-log-file", path(), "", B, RELOAD, "Log with a line per attempt.", YES),
    row(
        "send-log-format",
        line_template(),
        "",
        B,
        RELOAD,
        "What such a line contains: `json`, or a template with `$email`, `$result`, `$attempt`, `$date`, `$time`.",
        YES,
        note="MailerQ's fields",
    ),
    row("received-log-file", path(), "", C, RELOAD, "Log with a line per message received.", NOT_YET),
    row("received-log-format", string(), "", C, RELOAD, "What such a line contains.", NOT_YET, note="MailerQ's fields"),
    row("download-log-file", path(), "", C, RELOAD, "Log with a line per download.", YES),
    row(
        "download-log-format",
        line_template(),
        "",
        C,
        RELOAD,
        "What such a line contains: `json`, or a template with `$url`, `$date`, `$time`.",
        YES,
        note="MailerQ's fields",
    ),
    row("www-log-file", path(), "", C, RELOAD, "Log with a line per HTTP request.", NOT_YET),
    row("www-log-format", string(), "", C, RELOAD, "What such a line contains.", NOT_YET, note="MailerQ's fields"),
)

HTTP = (
    row("www-port", ports(), "", B, RESTART, "Ports for HTTP; empty = none.", YES),
    row("www-ip", ip_list(), "127.0.0.1", B, RESTART, "Addresses these ports are opened on.", YES),
    row("www-secure-port", ports(), "", B, RESTART, "Ports for HTTPS; next to them HTTP only redirects.", YES),
    row("www-certificate", path(), "", B, RELOAD, "Certificate for HTTPS.", YES),
    row("www-privatekey", path(), "", B, RELOAD, "Key of that certificate.", YES),
    row("www-ciphers", string(), "", B, RELOAD, "Cipher list of OpenSSL.", YES, note="the library's"),
    row("www-auth", authentication(), "", B, RELOAD, "Users of the console; empty = no console.", NOT_YET, secret=True),
    row("www-api-tokens", path(), "", B, RELOAD, "File of hashed tokens of the API.", YES),
    row("www-connections", integer(1), "10", B, RELOAD, "HTTP connections at the same time.", YES),
    row("www-metrics", boolean(), "true", B, RELOAD, "Serve metrics on the same ports.", YES),
    row("www-dir", path(), "", C, RESTART, "Files of the console.", NOT_YET, note="those of the package"),
    row("www-host", string(), "", C, RELOAD, "Host name told to the cluster.", NOT_YET, note="found out"),
    row("www-url", string(), "", C, RELOAD, "Address told to the cluster.", NOT_YET, note="found out"),
    row("www-cache-control", string(), "must-revalidate", C, RELOAD, "Header of console files.", NOT_YET),
    row("render-useragent", string(), "", C, RELOAD, "The only browsers that may render mails.", NOT_YET),
)
