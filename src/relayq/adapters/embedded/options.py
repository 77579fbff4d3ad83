"""What the embedded broker has to be told; the composition root fills it from the configuration."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MAX_PUBLISH_BYTES = 128 * 1024 * 1024
"""Largest body when the configuration says 0 (spec amqp.md 20)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Waits in seconds; tests shorten them.

    Attributes:
        poll_interval: Between two looks for what other processes have published (spec amqp.md 20: within 0.2 s).
        sweep_interval: Between two looks for dead processes (spec amqp.md 20: within 5 s).
        lock_patience: Waiting for others to finish writing; beyond that the broker counts as blocked.
        retry_interval: Between two tries while blocked.
        group_interval: Commits of a busy broker begin at least this far apart, so that they are shared.
        retry_log_interval: What keeps the broker blocked is logged at most this often.
        close_timeout: For the last transaction of a stopping process.
    """

    poll_interval: float = 0.1
    sweep_interval: float = 2.0
    lock_patience: float = 30.0
    retry_interval: float = 0.5
    group_interval: float = 0.004
    retry_log_interval: float = 60.0
    close_timeout: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedOptions:
    """Settings of the adapter.

    Attributes:
        path: Absolute path of the file, ``None`` = the usual place (`relayq.adapters.embedded.find_file`).
        gzip: Compress what is published (``rabbitmq-encoding``).
        max_publish: Largest body in bytes (``rabbitmq-max-publish``), 0 = 128 MiB.
        time_limit: Seconds a one-shot command waits for the file to become usable, ``None`` = for ever.
    """

    path: str | None = None
    gzip: bool = False
    max_publish: int = 0
    time_limit: float | None = None
    timings: Timings = Timings()
