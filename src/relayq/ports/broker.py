"""What the engine asks of a broker: hand out messages, and replace each by what follows from it.

The central operation is :meth:`Broker.settle`: a consumed message goes away only together with the publications that
follow from it (spec amqp.md 9). RabbitMQ does that with publisher confirms and an ack afterwards, the embedded broker
with one transaction; the engine does not see the difference.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

_PLAIN_ID = re.compile(r"[a-z0-9.:_-]{1,100}")
_LONGEST_QUEUE_NAME = 255
"""Bytes of an AMQP short string."""


class Properties(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of a consumed message that a republication keeps or needs (spec amqp.md 7).

    Attributes:
        content_encoding: As received, e.g. ``gzip``; ``None`` when absent.
        persistent: The message was published to survive a broker restart.
        priority: 0 to 255; ``None`` when absent.
        headers: Encoded AMQP field table without its length, broker bookkeeping already removed; empty when none.
        timestamp: Seconds since the epoch as the producer gave it.
        delivery_count: How often the broker handed it out before, where it counts; never republished.
        copy_id: Identity that :class:`Publication` gave it, empty for none; not repeated by a republication.
    """

    content_encoding: str | None = None
    persistent: bool = True
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    message_id: str | None = None
    type: str | None = None
    app_id: str | None = None
    timestamp: int | None = None
    headers: bytes = b""
    delivery_count: int = 0
    copy_id: bytes = b""


class QueueRole(enum.Enum):
    """Why something is published: decides what happens when the broker cannot route it (spec amqp.md 8)."""

    OUTBOX = "outbox"
    """Back towards the outbox, or injected: never given up."""
    RESULT = "result"
    """A result, DSN or verbatim copy: reported in the log when its queue cannot be reached."""


class Parking(msgspec.Struct, frozen=True):
    """Where messages wait that are due but may not go now (spec amqp.md 11).

    Attributes:
        kind: What they have in common, e.g. ``domain``; for a pause followed by ``.paused``.
        id: Which one, any text.
        seconds: After this time they return to the outbox even if nobody fetches them.
    """

    kind: str
    id: str
    seconds: int = 900

    def queue(self, outbox: str) -> str:
        """Name of the parking queue of an outbox; an id that does not suit a name is replaced by its hash."""
        prefix, ident = f"{outbox}.park.{self.kind}.", self.id.lower()
        if _PLAIN_ID.fullmatch(ident) and len(prefix.encode()) + len(ident) <= _LONGEST_QUEUE_NAME:
            return prefix + ident
        return prefix + hashlib.sha256(ident.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """One message to publish.

    Attributes:
        queue: Queue name, used as routing key. For a delayed copy: the queue it finally has to appear in.
        body: Final octets, before compression.
        properties: Those of the consumed message, or fresh ones.
        role: What happens when it cannot be routed.
        due_at: Not to appear in ``queue`` before this aware UTC instant; ``None`` means at once.
        parking: Keep it here until it is drained, at the latest until its time is over; then it appears in ``queue``,
            which is the outbox.
        is_verbatim: ``body`` is as it was consumed, in the encoding that ``properties`` name: never compressed again.
        copy_id: Identity of a copy for the outbox, to recognise it when it is handed out; empty for none. A broker
            whose :meth:`Broker.settle` is one transaction need not keep it.
    """

    queue: str
    body: bytes
    properties: Properties
    role: QueueRole
    due_at: datetime | None = None
    parking: Parking | None = None
    is_verbatim: bool = False
    copy_id: bytes = b""


class Origin(Protocol):
    """What hands items out, and takes their acknowledgements."""

    @property
    def is_lost(self) -> bool:
        """It ended without order: the last acknowledgements it took may not have arrived, and later ones cannot."""
        ...


class OutboxItem(Protocol):
    """A consumed message that must be settled or given back.

    Attributes:
        body: Octets as consumed; compressed if ``properties.content_encoding`` says so.
        properties: Its properties.
        redelivered: The broker handed it out before.
        consumed_at: Monotonic instant of the hand-out (``Clock.monotonic``).
    """

    @property
    def body(self) -> bytes:
        """Octets as consumed."""
        ...

    @property
    def properties(self) -> Properties:
        """Properties as consumed."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether the broker handed it out before."""
        ...

    @property
    def consumed_at(self) -> float:
        """Monotonic instant of the hand-out."""
        ...

    @property
    def identity(self) -> bytes:
        """What it keeps when it is handed out again and shares with no other message; empty if nothing is known."""
        ...

    @property
    def origin(self) -> Origin:
        """Where it was handed out; all items of one channel share it."""
        ...

    @property
    def is_held(self) -> bool:
        """False once the broker has taken it back (connection or consumer lost): it will be handed out again.

        An item that is no longer held and was not started is simply dropped. Settling it still publishes.
        """
        ...


class Consumption(Protocol):
    """A running consumer."""

    async def cancel(self) -> None:
        """Stop handing out. Items already handed out stay valid and must still be settled or given back."""
        ...

    async def set_prefetch(self, prefetch: int) -> None:
        """Change how many unsettled items may be out at once; items already handed out stay valid."""
        ...


class Broker(Protocol):
    """A broker connection of one process. All methods belong to one event loop."""

    @property
    def is_blocked(self) -> bool:
        """The broker takes no publications now (memory or disk alarm, full disk): start no new deliveries."""
        ...

    @property
    def is_connected(self) -> bool:
        """Messages can come and results can leave; false while a connection is being set up again."""
        ...

    @property
    def max_publish_bytes(self) -> int:
        """Largest body it takes now (spec amqp.md 12)."""
        ...

    async def open(self) -> None:
        """Connect and prepare queues; keeps trying with backoff while the broker cannot be reached.

        Raises:
            BrokerRefusedError: Credentials, virtual host or permissions refused everywhere.
            TopologyError: An existing queue or exchange differs from what is wanted, or a file is not ours.
            BrokerUnavailableError: Only when constructed with a time limit (one-shot commands).
        """
        ...

    async def consume(self, queue: str, prefetch: int, deliver: Callable[[OutboxItem], None]) -> Consumption:
        """Hand out messages of ``queue`` to ``deliver``, at most ``prefetch`` unsettled ones at a time.

        ``deliver`` is called on the event loop, must not block and must not raise. Survives reconnects.
        """
        ...

    async def drain(self, queue: str, parking: Parking, prefetch: int, deliver: Callable[[OutboxItem], None]) -> bool:
        """Hand out what is parked there for ``queue``, like `consume`, until nothing is left; true when that is so.

        False when trouble ended it before, and something may still be parked. Cancel it to stop earlier. Either way
        the items handed out stay valid; one that is given back appears in the parking place or in the outbox.
        """
        ...

    def settle(self, item: OutboxItem, publications: Sequence[Publication]) -> Awaitable[None]:
        """Publish everything, and once all of it is confirmed acknowledge the item.

        The publications are taken over before this returns and leave at once; only copies that wait at the broker
        anyway (delayed or parked) may be kept back for a moment, to leave together. The awaitable completes when all
        are confirmed and the acknowledgement is on its way too. It keeps trying across reconnects; it may be cancelled
        only when the process ends. No publications: acknowledge at once.

        Raises:
            PublicationTooLargeError: Of a copy for the outbox; the item is not acknowledged, and can be settled with
                something else. Only when the broker takes less than `max_publish_bytes` said.
        """
        ...

    async def count_consumers(self, queue: str) -> int | None:
        """How many consume a queue now, ours among them; ``None`` if nobody can tell, or all are on this machine."""
        ...

    def requeue(self, item: OutboxItem) -> None:
        """Give an item back that was not started. Only at a graceful stop or when blocked for long."""
        ...

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish without a consumed item; returns once all are confirmed.

        Raises:
            PublicationTooLargeError: As `settle`.
        """
        ...

    async def close(self) -> None:
        """Flush acknowledgements, stop consuming, close. Idempotent."""
        ...


class BrokerListener(Protocol):
    """What a broker tells the engine by itself. Called on the event loop; must not block or raise."""

    def flow_changed(self, *, blocked: bool) -> None:
        """``is_blocked`` changed."""
        ...

    def items_lost(self) -> None:
        """Items of a lost connection or consumer are no longer held; late acknowledgements may not have arrived."""
        ...

    def replace_copy(self, publication: Publication) -> Publication | None:
        """A copy for the outbox was published, its confirm did not come: what to publish now.

        The broker may have it, so that publishing it again as it is could make it two mails. ``None``: it has it.
        """
        ...

    def unroutable(self, publication: Publication) -> None:
        """A result could not be delivered to its queue and was given up: it must reach the log at level critical."""
        ...


class BrokerError(Exception):
    """Base of what a broker can refuse; texts never contain credentials."""


class BrokerRefusedError(BrokerError):
    """Credentials, virtual host or permission refused on every address (exit code 77)."""


class BrokerUnavailableError(BrokerError):
    """Not reachable within the time a one-shot command may take (exit code 69 or 75)."""


class PublicationTooLargeError(BrokerError):
    """A copy for the outbox is larger than the broker takes, even compressed; its limit is known from now on."""


class TopologyError(BrokerError):
    """Existing queues or files are not what is wanted: names which, what is there, what was wanted (exit code 78)."""


class BrokerStorageError(BrokerError):
    """The embedded broker's file cannot be created (exit code 73) or is damaged (exit code 71).

    Attributes:
        exit_code: 71 or 73.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
