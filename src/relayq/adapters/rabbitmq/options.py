"""What the RabbitMQ adapter has to be told; the composition root fills it from the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One host of a broker or cluster, with everything needed to log in there (spec amqp.md 1).

    Attributes:
        host: Name or IP address without brackets.
        password: Never shown, in no text either.
        vhost: Virtual host, decoded.
        tls: TLS 1.2 or later before AMQP.
        verify: Check chain and name of the certificate.
        ca_file: Trusted certificates, ``None`` = those of the system.
        cert_file: Client certificate.
        key_file: Key of the client certificate.
        server_name: Name asked for and checked in TLS, ``None`` = the host.
        heartbeat: Seconds; the lower of both sides applies, 0 = none of ours.
        connection_timeout: Seconds until the connection must be usable.
    """

    host: str = "localhost"
    port: int = 5672
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    tls: bool = False
    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    heartbeat: int = 60
    connection_timeout: float = 10.0

    def __str__(self) -> str:
        """Host and port as they appear in the log."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Waits of the adapter in seconds; tests shorten them. The last entry of a sequence repeats.

    Attributes:
        reconnect_waits: Between two tries to connect (spec amqp.md 2).
        reconnect_spread: Each wait is longer or shorter by up to this share.
        stable_after: A connection that lived this long starts the waits anew.
        republish_waits: Before a nacked or returned publish goes out again (spec amqp.md 8).
        prepare_timeout: For declaring everything on a new connection.
        confirm_timeout: Without a confirm for this long the connection counts as lost (spec amqp.md 8).
        retry_log_interval: The same trouble is logged at most this often.
        close_timeout: For an orderly end of a connection.
        refused_queue_memory: How long a queue name the broker refused is not tried again.
        parking_lease: A parking queue declared longer ago is declared again before it is published to.
        drain_check: How often it is asked whether a parking queue is empty while it drains.
        gathering: How long a copy that waits at the broker anyway is kept back, to be published in a burst.
    """

    reconnect_waits: tuple[float, ...] = (1, 2, 4, 8, 16, 30)
    reconnect_spread: float = 0.2
    stable_after: float = 60
    republish_waits: tuple[float, ...] = (1, 2, 5, 10, 30)
    prepare_timeout: float = 60
    confirm_timeout: float = 60
    retry_log_interval: float = 60
    close_timeout: float = 5
    refused_queue_memory: float = 60
    parking_lease: float = 3600
    drain_check: float = 1
    gathering: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitMqOptions:
    """Settings of the adapter; each is named after the key of spec config.md 8.2 it comes from.

    Attributes:
        endpoints: In the order to be tried, at least one.
        connection_name: Shown by the broker; the purpose of the connection is added.
        outbox: Queue that delayed copies return to; empty = no outbox, no delay queues.
        queues: Further configured queues.
        prepare: Declare (or check) outbox, delay queues and ``queues`` at every connect. One-shot commands need only
            the queues they use, each declared on first use.
        delay_intervals: Seconds, added to the fixed ladder of delay queues.
        declare: Declare queues, exchange and bindings; otherwise they are only checked.
        durable: Declared objects survive a restart of the broker.
        persistent: Publish persistent; what was consumed persistent stays so in any case.
        exchange: Exchange of every publish, empty = the default exchange.
        lazy: Lazy queues on brokers older than 3.12.
        max_priority: ``x-max-priority``, 0 = none.
        queue_type: ``auto``, ``classic`` or ``quorum``.
        delivery_limit: ``x-delivery-limit`` of a quorum outbox.
        consumers: Consumer connections; each consumer of a queue exists once per connection.
        publishers: Publisher connections.
        throttle: Unconfirmed publishes per publisher.
        gzip: Compress what is published.
        max_publish: Largest body in bytes, 0 = by broker version.
        time_limit: Seconds a one-shot command waits for the broker, ``None`` = for ever.
    """

    endpoints: tuple[Endpoint, ...] = (Endpoint(),)
    connection_name: str = "relayq"
    outbox: str = "outbox"
    queues: tuple[str, ...] = ()
    prepare: bool = True
    delay_intervals: tuple[int, ...] = (1800, 3600, 7200)
    declare: bool = True
    durable: bool = True
    persistent: bool = True
    exchange: str = ""
    lazy: bool = False
    max_priority: int = 0
    queue_type: str = "auto"
    delivery_limit: int = 1000
    consumers: int = 1
    publishers: int = 1
    throttle: int = 100
    gzip: bool = False
    max_publish: int = 0
    time_limit: float | None = None
    timings: Timings = Timings()
