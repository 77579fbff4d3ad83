"""What tools ask of a broker about its queues: what lies there, without touching a message, and emptying them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """One queue as it was a moment ago; ``None`` stands for what this broker does not tell.

    Attributes:
        name: Its name.
        exists: False: there is no such queue; all counts are 0 or ``None``. Where queues need not be made, all exist.
        ready: Messages that could be handed out now.
        delayed: Messages that wait in it for their time; ``None`` where they wait in queues of their own.
        unsettled: Messages that are handed out and neither settled nor given back.
        consumers: Who consumes.
        oldest_at: When the oldest message was put into it, aware UTC; also ``None`` when it is empty.
        newest_at: The same of the newest.
        trouble: Why it could not be looked at, empty when it could.
    """

    name: str
    exists: bool = True
    ready: int = 0
    delayed: int | None = None
    unsettled: int | None = None
    consumers: int | None = None
    oldest_at: datetime | None = None
    newest_at: datetime | None = None
    trouble: str = ""

    @property
    def messages(self) -> int:
        """All that is known to be there."""
        return self.ready + (self.delayed or 0) + (self.unsettled or 0)


class DomainState(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of one queue for one recipient domain.

    Attributes:
        domain: In lower-case A-labels; a text in parentheses for messages without a readable recipient.
        ready: Could be handed out now.
        delayed: Wait for their time.
        unsettled: Are handed out.
        by_age: How many were put there within each of the time spans asked for, and last those that are older.
        oldest_at: When the oldest was put there.
    """

    domain: str
    ready: int
    delayed: int
    unsettled: int
    by_age: tuple[int, ...]
    oldest_at: datetime


class QueueInspector(Protocol):
    """A connection for looking. All methods belong to one event loop; texts of errors contain no credentials."""

    @property
    def broker(self) -> str:
        """Product and place, for people; known after `open`."""
        ...

    async def open(self) -> None:
        """Connect.

        Raises:
            BrokerRefusedError: Credentials, virtual host or file refused.
            BrokerUnavailableError: Not reachable within the time limit.
            TopologyError: The file is not a queue file.
            BrokerStorageError: The file is damaged.
        """
        ...

    async def look(self, names: Sequence[str]) -> tuple[QueueState, ...]:
        """The named queues in this order, then all others that hold messages, as far as the broker lists queues.

        Raises:
            BrokerUnavailableError: The connection was lost and did not come back within the time limit.
        """
        ...

    async def look_into(self, name: str, ages: Sequence[float]) -> tuple[DomainState, ...] | None:
        """Messages of a queue by domain, the largest first; ``None`` when this broker does not show them.

        Args:
            name: The queue.
            ages: Time spans for `DomainState.by_age` in seconds, ascending.

        Raises:
            BrokerUnavailableError: As `look`.
        """
        ...

    async def purge(self, name: str, *, delayed: bool = False) -> int:
        """Delete the messages that are ready, or instead those that wait in the queue for their time; returns how many.

        What is handed out stays. What is put there meanwhile may or may not go.

        Raises:
            BrokerRefusedError: No permission.
            BrokerUnavailableError: As `look`; some may be deleted.
        """
        ...

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        ...
