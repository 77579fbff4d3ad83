"""Names of MailerQ's settings that have another name, another form or no meaning here (spec config.md 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALIASES: Final = {
    "amqp-address": "rabbitmq-address",
    "database": "database-address",
    "storage": "storage-address",
    "smtp-defaultips": "smtp-default-ips",
    "smtp-defaultip": "smtp-default-ips",
    "smtp-ranges": "smtp-range",
    "smtp-privatekey": "smtp-key",
    "www-private-key": "www-privatekey",
    "smtp-sink-ip": "smtp-sink-address",
    "max-connections": "smtp-connections-out",
    "max-deliver-time": "max-delivertime",
    "connection-secure": "smtp-out-security",
    "error-log": "application-log",
}
"""Old name → the setting it means."""

CONVERTED_VALUES: Final = {"connection-secure": {"0": "optional", "1": "opportunistic"}}
"""Old name → old value → value of the setting it means; other values are errors."""

_LOGS: Final = ("send", "received", "download", "www")
_NO_TELEMETRY: Final = "has no effect: there is no licence, no telemetry and no upload of crash reports"
_ASYNCHRONOUS: Final = "has no effect: lookups need no threads"
_LOGROTATE: Final = "has no effect: logs are rotated by logrotate"
_BINARY_LOG: Final = "has no effect: the binary log format is private to MailerQ"

NO_EFFECT: Final = {
    **dict.fromkeys(
        ("license", "heartbeat", "heartbeat-enabled", "disable-crash-report", "disable-crash-post", "loopback"),
        _NO_TELEMETRY,
    ),
    **dict.fromkeys(("dns-threads", "dns-getaddrinfo", "database-threads"), _ASYNCHRONOUS),
    **{f"{log}-log-{part}": _LOGROTATE for log in _LOGS for part in ("maxsize", "maxage", "compression", "history")},
    **{
        f"{log}-bin-log-{part}": _BINARY_LOG
        for log in _LOGS
        for part in ("file", "directory", "prefix", "maxsize", "maxage", "compression", "history")
    },
}
"""Name → why nothing happens; accepted with one notice."""

REPLACED: Final = {
    **{
        f"rabbitmq-{part}": "was replaced: write rabbitmq-address: amqp://user:password@host:port/vhost"
        for part in ("host", "port", "user", "password", "vhost")
    },
    **{
        f"cluster-{part}": "was replaced: write cluster-address: amqp://user:password@host:port/vhost"
        for part in ("host", "port", "user", "password", "vhost")
    },
}
"""Name → what to write instead; an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A setting made of old ones.

    Attributes:
        key: The setting that is made.
        parts: The old names it is made of.
        needed: Those that must be there.
        write: Texts of the parts that are there → text of the setting.
    """

    key: str
    parts: tuple[str, ...]
    needed: tuple[str, ...]
    write: Callable[[Mapping[str, str]], str]


def _smtp_login(parts: Mapping[str, str]) -> str:
    return f"hardcoded://{quote(parts['smtp-username'], safe='')}:{quote(parts['smtp-password'], safe='')}"


def _console_login(parts: Mapping[str, str]) -> str:
    # MailerQ asked for a password only; here a console has users.
    return f"hardcoded://admin:{quote(parts['www-password'], safe='')}"


def _log_file(log: str) -> Composed:
    directory, prefix = f"{log}-log-directory", f"{log}-log-prefix"

    def write(parts: Mapping[str, str]) -> str:
        name = parts.get(prefix) or f"{log}.log"
        return f"{parts[directory].rstrip('/')}/{name}" if parts[directory] else ""

    return Composed(key=f"{log}-log-file", parts=(directory, prefix), needed=(directory,), write=write)


_LOGIN: Final = ("smtp-username", "smtp-password")
_PASSWORD: Final = ("www-password",)

COMPOSED: Final = (
    Composed(key="smtp-auth", parts=_LOGIN, needed=_LOGIN, write=_smtp_login),
    Composed(key="www-auth", parts=_PASSWORD, needed=_PASSWORD, write=_console_login),
    *map(_log_file, _LOGS),
)

PARTS: Final = {part: composed for composed in COMPOSED for part in composed.parts}
"""Old name → the setting it becomes part of."""

OLD_NAMES: Final = frozenset((*ALIASES, *NO_EFFECT, *REPLACED, *PARTS))
