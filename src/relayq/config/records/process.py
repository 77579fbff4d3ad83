"""The process itself: its identity, its logs, and the HTTP it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from relayq.config.records.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping


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
class LogSettings(Record):
    """The application log, and the send log.

    Attributes:
        targets: ``stdout``, ``stderr``, ``syslog`` and absolute paths; may be empty.
        level: Least important events.
        format: For people or for programs.
        send_file: Absolute path of the send log, ``None`` = there is none.
        send_format: What its lines contain: ``None`` = the usual fields, ``json``, or a template.
        download_file: Absolute path of the download log, ``None`` = there is none.
        download_format: As for the send log.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        "send_file": "send-log-file",
        "send_format": "send-log-format",
        "download_file": "download-log-file",
        "download_format": "download-log-format",
        "targets": "application-log",
        "level": "log-level",
        "format": "application-log-format",
    }

    targets: tuple[str, ...]
    level: Literal["debug", "info", "warning", "critical"]
    format: Literal["text", "json"]
    send_file: str | None
    send_format: str | None
    download_file: str | None
    download_format: str | None


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
