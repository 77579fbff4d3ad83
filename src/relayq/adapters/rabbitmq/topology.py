"""Which queues and exchanges exist, with which arguments, and what the broker's answers to that mean.

Pure: options and broker version in, declarations out; reply codes and texts in, decisions out (spec amqp.md 3, 4, 10
and 16).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relayq.adapters.rabbitmq.errors import ACCESS_REFUSED, INTERNAL_ERROR, PRECONDITION_FAILED
from relayq.adapters.rabbitmq.options import RabbitMqOptions
from relayq.ports import BrokerError, BrokerRefusedError, TopologyError

LADDER = (
    *(digit * 10**power for power in range(4) for digit in range(1, 10)),
    *range(10_000, 90_000, 10_000),
    86_400,
)
LAZY_ARGUMENT = "x-queue-mode"
PARKING_LEASE = 86_400
"""Seconds after which an unused parking queue is removed, far more than a message stays in it (spec amqp.md 11)."""
MEBIBYTE = 1024 * 1024

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
# inequivalent arg 'x-max-priority' for queue 'outbox' in vhost '/': received none but current is the value '5' of …
INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<kind>\w+) '(?P<name>.*)' in vhost '.*?': "
    r"received (?P<wanted>.*?) but current is (?P<existing>.*)"
)


@dataclass(frozen=True, slots=True, order=True)
class BrokerVersion:
    """Version of a RabbitMQ broker, as far as rules depend on it."""

    major: int
    minor: int

    @property
    def wants_lazy_argument(self) -> bool:
        """``x-queue-mode`` is of use; from 3.12 ignored, from 4.3 refused."""
        return self < BrokerVersion(3, 12)

    @property
    def max_message_bytes(self) -> int:
        """Largest message by default."""
        return (16 if self >= BrokerVersion(4, 0) else 128) * MEBIBYTE

    @property
    def has_two_priority_classes(self) -> bool:
        """Quorum queues keep two classes, and expire only at the head of each."""
        return BrokerVersion(4, 0) <= self < BrokerVersion(4, 3)

    @property
    def is_supported(self) -> bool:
        """3.10 or newer."""
        return self >= BrokerVersion(3, 10)


def parse_version(server_properties: Mapping[str, Any]) -> BrokerVersion:
    """Version from the server properties; other products count as RabbitMQ 3.13."""
    match = _VERSION.match(str(server_properties.get("version", "")))
    if str(server_properties.get("product", "")).lower() != "rabbitmq" or match is None:
        return BrokerVersion(3, 13)
    return BrokerVersion(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """One queue as it should be.

    Attributes:
        is_required: Without it the outbox does not work: missing is an error even when nothing may be declared.
    """

    name: str
    durable: bool
    arguments: Mapping[str, Any]
    is_required: bool = False

    def with_lazy_toggled(self) -> QueueDeclaration:
        """The same queue with ``x-queue-mode`` added, or removed when it was there."""
        arguments = dict(self.arguments)
        if arguments.pop(LAZY_ARGUMENT, None) is None:
            arguments[LAZY_ARGUMENT] = "lazy"
        return QueueDeclaration(self.name, self.durable, arguments, self.is_required)


class Topology:
    """Declarations for one broker version."""

    def __init__(self, options: RabbitMqOptions, version: BrokerVersion) -> None:
        self._options = options
        self._version = version
        self._is_quorum = options.queue_type == "quorum"
        self._durable = options.durable or self._is_quorum

    def configured(self) -> tuple[QueueDeclaration, ...]:
        """Everything declared at each connect: outbox, poison, delay queues, configured queues; each name once."""
        wanted: dict[str, QueueDeclaration] = {}
        if self._options.outbox:
            for queue in (*self._outbox(), *self._delays()):
                wanted.setdefault(queue.name, queue)
        for name in self._options.queues:
            wanted.setdefault(name, self.plain(name))
        return tuple(wanted.values())

    def plain(self, name: str) -> QueueDeclaration:
        """A queue without a special task: results and the like."""
        return QueueDeclaration(name, self._durable, self._plain_arguments())

    def find(self, name: str) -> QueueDeclaration:
        """The declaration of any queue we publish to."""
        return next((queue for queue in self.configured() if queue.name == name), None) or self.plain(name)

    def parking(self, name: str, seconds: int) -> QueueDeclaration:
        """A parking queue; classic even beside quorum queues, because those do not renew ``x-expires``."""
        arguments = {
            "x-queue-type": "classic",
            "x-message-ttl": seconds * 1000,
            "x-expires": PARKING_LEASE * 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self._options.outbox,
        }
        return QueueDeclaration(name, self._durable, arguments)

    def _plain_arguments(self) -> dict[str, Any]:
        arguments = self._type_argument()
        if self._options.max_priority and not self._is_quorum:
            arguments["x-max-priority"] = self._options.max_priority
        if self._options.lazy and self._version.wants_lazy_argument and not self._is_quorum:
            arguments[LAZY_ARGUMENT] = "lazy"
        return arguments

    def _type_argument(self) -> dict[str, Any]:
        kind = self._options.queue_type
        return {} if kind == "auto" else {"x-queue-type": kind}

    def _outbox(self) -> tuple[QueueDeclaration, ...]:
        outbox = self._options.outbox
        if not self._is_quorum:
            return (QueueDeclaration(outbox, self._durable, self._plain_arguments(), is_required=True),)
        poison = f"{outbox}.poison"
        arguments = self._type_argument() | {
            "x-delivery-limit": self._options.delivery_limit,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": poison,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        return (
            QueueDeclaration(poison, durable=True, arguments={"x-queue-type": "quorum"}),
            QueueDeclaration(outbox, durable=True, arguments=arguments, is_required=True),
        )

    def _delays(self) -> tuple[QueueDeclaration, ...]:
        # Never a priority: an expired message of low priority would wait behind others (spec amqp.md 4).
        shared = self._type_argument() | {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self._options.outbox,
        }
        if self._is_quorum:
            shared |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        return tuple(
            QueueDeclaration(
                delay_queue(self._options.outbox, seconds),
                self._durable,
                shared | {"x-message-ttl": seconds * 1000},
                is_required=True,
            )
            for seconds in delay_ladder(self._options.delay_intervals)
        )


def delay_queue(outbox: str, seconds: int) -> str:
    """Name of the queue that returns messages to the outbox after so many seconds."""
    return f"{outbox}.delay.{seconds}"


def delay_ladder(intervals: tuple[int, ...]) -> tuple[int, ...]:
    """Seconds of all delay queues, ascending: one per decimal digit of any delay, a day, and the retry intervals."""
    return tuple(sorted({*LADDER, *(seconds for seconds in intervals if seconds > 0)}))


def topology_error(text: str) -> TopologyError:
    """What an operator reads when the broker has something else than we want (406)."""
    match = INEQUIVALENT.search(text)
    if match is None:
        return TopologyError(f"the broker refuses a declaration: {text}; {_ADVICE}")
    return TopologyError(
        f"{match['kind']} {match['name']!r}: argument {match['argument']} exists as {match['existing'].strip()}, "
        f"wanted is {match['wanted'].strip()}; {_ADVICE}"
    )


_ADVICE = "align the setting, or delete the queue when it is empty, or set rabbitmq-declare: false"


def declaration_error(code: int, text: str, name: str) -> BrokerError | None:
    """What a refused declaration of a configured queue or exchange means; ``None``: try again as after a loss."""
    if code == PRECONDITION_FAILED:
        return topology_error(text)
    if code == ACCESS_REFUSED:
        return BrokerRefusedError(f"no permission to declare {name!r}: {text}")
    if code == INTERNAL_ERROR and "deprecated" in text:
        return TopologyError(
            f"the broker refuses {name!r}: {text}; use durable queues (rabbitmq-durable: true) or permit the feature"
        )
    return None
