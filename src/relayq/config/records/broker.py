"""The broker and its queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from relayq.config.records.record import Record

if TYPE_CHECKING:
    from relayq.config.broker_address import BrokerAddress, EmbeddedAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings(Record):
    """How to reach the broker and how much to take from it.

    Attributes:
        address: Brokers to try in this order, or the embedded one.
        verify: Check certificates of ``amqps`` brokers.
        exchange: Exchange of every publish; empty = the default exchange.
        declare: Create queues, exchange and bindings.
        durable: What is created survives a restart of the broker.
        persistent: What is published does.
        lazy: Queues of brokers before 3.12 keep messages on disk.
        maxpriority: ``x-max-priority``, 0 = no priority queues.
        queue_type: ``x-queue-type`` of created queues.
        delivery_limit: ``x-delivery-limit`` of a quorum outbox.
        consumers: Consuming connections per worker.
        publishers: Publishing connections per worker.
        qos: Messages a consumer holds unacknowledged.
        minqos: Lower limit of scaling that back.
        flush_qos: Messages fetched from parking queues at once.
        throttle: Unconfirmed publishes per publisher.
        encoding: Compression of publishes, ``None`` = none.
        max_hold: Seconds a message may wait in memory for its SMTP transaction to start.
        ack_limit: Seconds from consuming to acknowledging.
        max_redeliveries: Hand-outs of a quorum outbox after which a message is refused, 0 = never.
        max_memory: Bytes of bodies a worker holds before it scales back.
        max_consume: Bytes of a message, unpacked, above which it is malformed.
        max_publish: Bytes of the largest publish, 0 = by broker version.
    """

    PREFIX: ClassVar[str] = "rabbitmq-"

    address: tuple[BrokerAddress, ...] | EmbeddedAddress
    verify: bool
    exchange: str
    declare: bool
    durable: bool
    persistent: bool
    lazy: bool
    maxpriority: int
    queue_type: Literal["auto", "classic", "quorum"]
    delivery_limit: int
    consumers: int
    publishers: int
    qos: int
    minqos: int
    flush_qos: int
    throttle: int
    encoding: Literal["gzip"] | None
    max_hold: float
    ack_limit: float
    max_redeliveries: int
    max_memory: int
    max_consume: int
    max_publish: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings(Record):
    """Names of queues; ``None`` = off.

    Attributes:
        outbox: The queue consumed.
        results: Every final result.
        success: Final results of delivered messages.
        failure: Final results of the others.
        retry: Results of attempts that are repeated.
        queues_override: Whether queues in a message replace these altogether or one by one.
        invalid: Copies of unreadable messages.
        dsn: Reports this server makes.
        held: Messages that may have been accepted before a crash; ``None`` = they are sent again.
        inbox: Injected messages; ``None`` = they are thrown away.
    """

    PREFIX: ClassVar[str] = "rabbitmq-"

    outbox: str
    results: str | None
    success: str | None
    failure: str | None
    retry: str | None
    queues_override: Literal["replace", "merge"]
    invalid: str | None
    dsn: str | None
    held: str | None
    inbox: str | None
