"""The broker that the configuration asks for, and what looks at its queues."""

from __future__ import annotations

from collections.abc import Callable

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedInspector, EmbeddedOptions
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqInspector, RabbitMqOptions
from relayq.config import BrokerAddress, EmbeddedAddress, Settings
from relayq.ports import (
    Broker,
    BrokerListener,
    Clock,
    Publication,
    QueueInspector,
)

LogLine = Callable[[str, str], None]


class SilentListener:
    """``ports.BrokerListener`` of one-shot commands: they look at what their own calls return."""

    def flow_changed(self, *, blocked: bool) -> None:
        """Nothing to pause."""

    def items_lost(self) -> None:
        """Nothing is held for long."""

    def replace_copy(self, publication: Publication) -> Publication | None:
        """Injected messages have no identity."""
        return publication

    def unroutable(self, publication: Publication) -> None:
        """Injection is never given up, and nothing else is published."""


def open_broker(
    settings: Settings,
    *,
    time_limit: float | None = None,
    listener: BrokerListener | None = None,
    clock: Clock | None = None,
    log: LogLine | None = None,
    purpose: str = "worker 1",
    is_worker: bool = False,
) -> Broker:
    """The adapter that ``rabbitmq-address`` asks for, not yet opened.

    Args:
        settings: Whole configuration.
        time_limit: Seconds a one-shot command waits for the broker; ``None`` waits for ever.
        listener: Told about the broker's own events.
        clock: Default: the system's.
        log: Called with level and text.
        purpose: Shown by the broker beside the connection.
        is_worker: Prepare the outbox, the delay queues and every configured queue.
    """
    listener = listener or SilentListener()
    clock = clock or SystemClock()
    log = log or _discard
    address = settings.broker.address
    if isinstance(address, EmbeddedAddress):
        options = EmbeddedOptions(
            path=address.path,
            gzip=settings.broker.encoding == "gzip",
            max_publish=settings.broker.max_publish,
            time_limit=time_limit,
        )
        return EmbeddedBroker(options, listener, clock, log)
    return RabbitMqBroker(
        rabbitmq_options(settings, address, time_limit, purpose, is_worker=is_worker), listener, clock, log
    )


def open_inspector(settings: Settings, *, time_limit: float, log: LogLine | None = None) -> QueueInspector:
    """What looks at the queues of the broker that ``rabbitmq-address`` names, not yet opened.

    Args:
        settings: Whole configuration.
        time_limit: Seconds to wait for the broker.
        log: Called with level and text.
    """
    address = settings.broker.address
    if isinstance(address, EmbeddedAddress):
        return EmbeddedInspector(address.path, SystemClock(), time_limit)
    options = rabbitmq_options(settings, address, time_limit, "queue", is_worker=False)
    return RabbitMqInspector(options, SystemClock(), log or _discard)


def _discard(level: str, text: str) -> None:
    del level, text


def reconfigure_broker(broker: Broker, settings: Settings) -> None:
    """Take over what a reload may change about publishing."""
    given = settings.broker
    if isinstance(broker, EmbeddedBroker):
        broker.reconfigure(gzip=given.encoding == "gzip", max_publish=given.max_publish)
    if isinstance(broker, RabbitMqBroker):
        broker.reconfigure(
            persistent=given.persistent,
            gzip=given.encoding == "gzip",
            throttle=given.throttle,
            max_publish=given.max_publish,
        )


def rabbitmq_options(
    settings: Settings, addresses: tuple[BrokerAddress, ...], time_limit: float | None, purpose: str, *, is_worker: bool
) -> RabbitMqOptions:
    """Settings as the RabbitMQ adapter wants them."""
    broker, queues = settings.broker, settings.queues
    named = (
        queues.results,
        queues.success,
        queues.failure,
        queues.retry,
        queues.invalid,
        queues.dsn,
        queues.held,
        queues.inbox,
    )
    server = f" {settings.process.server_id}" if settings.process.server_id else ""
    return RabbitMqOptions(
        endpoints=tuple(
            Endpoint(
                host=host,
                port=port,
                user=address.user,
                password=address.password,
                vhost=address.vhost,
                tls=address.tls,
                verify=broker.verify,
                ca_file=address.options.cacertfile,
                cert_file=address.options.certfile,
                key_file=address.options.keyfile,
                server_name=address.options.server_name_indication,
                heartbeat=60 if address.options.heartbeat is None else address.options.heartbeat,
                connection_timeout=address.options.connection_timeout or 10.0,
            )
            for address in addresses
            for host, port in address.hosts
        ),
        connection_name=f"relayq{server} {purpose}",
        outbox=queues.outbox,
        prepare=is_worker,
        queues=tuple(dict.fromkeys(name for name in named if name)) if is_worker else (),
        delay_intervals=tuple(int(seconds) for seconds in settings.delivery.retry_interval),
        declare=broker.declare,
        durable=broker.durable,
        persistent=broker.persistent,
        exchange=broker.exchange,
        lazy=broker.lazy,
        max_priority=broker.maxpriority,
        queue_type=broker.queue_type,
        delivery_limit=broker.delivery_limit,
        consumers=broker.consumers,
        publishers=broker.publishers,
        throttle=broker.throttle,
        gzip=broker.encoding == "gzip",
        max_publish=broker.max_publish,
        time_limit=time_limit,
    )
