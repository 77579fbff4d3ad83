"""What the engine asks of a journal: remember, beyond the life of this process, what became of each message.

The broker hands a message out again when a process died before it acknowledged. What the journal knows then decides
whether it is sent again (spec amqp.md 13). One note is made right before the content leaves (*sending*), one as soon as
the outcome is known (*decided*), one when everything that follows from it is confirmed (*done*).

Notes are about hand-outs, not about messages: two messages that are equal in every octet (*twins*) have one key. A
journal that cannot tell such twins apart never says more than "perhaps sent", so none of them can get lost.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable
from typing import Protocol

import msgspec


class JournalEntry(msgspec.Struct, eq=False):
    """One hand-out of a message.

    Attributes:
        key: Digest of what a redelivery has in common with it.
        number: Place in the journal, 0 = nothing was noted yet. Set by the journal.
        segment: Where the newest note lies. Set by the journal.
        recalled: What was known before this hand-out, ``None`` for nothing.
    """

    key: bytes
    number: int = 0
    segment: int = 0
    recalled: Recollection | None = None


class RecollectionKind(enum.Enum):
    """How far an earlier hand-out of a message had come."""

    RUNNING = "running"
    """Another process of this host has it and lives: what becomes of it will be known soon."""
    SENT = "sent"
    """Its content was sent, or about to be; nobody knows what the server said."""
    MOVED = "moved"
    """A copy of it was, perhaps, published to the outbox."""
    DECIDED = "decided"
    """The outcome is known; whether everything that follows from it was published is not."""
    DONE = "done"
    """Everything that follows from the outcome is confirmed; only the acknowledgement got lost."""


class Recollection(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal knows about an earlier hand-out of a redelivered message.

    Attributes:
        decision: As given to :meth:`OutcomeJournal.note_decided`; for ``DECIDED`` only.
        copy_id: Of the copy that was, perhaps, published to the outbox.
        report_id: Of the report about it that was, perhaps, published there.
        origin: The hand-out it is about, opaque.
    """

    kind: RecollectionKind
    decision: bytes = b""
    copy_id: bytes = b""
    report_id: bytes = b""
    origin: tuple[bytes, int] = (b"", 0)


class OutcomeJournal(Protocol):
    """Notes of one process, and those of others on this host that serve the same outbox.

    No method but :meth:`open` and :meth:`close` waits, and none raises for what a disk does: what cannot be noted is
    reported once, and delivery goes on without notes, or stands still, as the settings say.
    """

    @property
    def stops_delivery(self) -> bool:
        """Nothing can be noted now, and the settings say that nothing may be sent then."""
        ...

    async def open(self) -> None:
        """Read what others left and begin to write.

        Raises:
            JournalError: The folder cannot be used.
        """
        ...

    def note_sending(self, entry: JournalEntry) -> Awaitable[object] | None:
        """Content is about to be sent; ``None`` when the note is as safe as the settings ask, else wait for that.

        What is waited for fails when the note cannot be made and nothing may be sent without.
        """
        ...

    def note_decided(self, entry: JournalEntry, decision: bytes) -> None:
        """The outcome is known."""
        ...

    def note_moved(self, entry: JournalEntry) -> None:
        """A copy is about to be published to the outbox in its place."""
        ...

    def note_done(self, entry: JournalEntry, *, is_acknowledged: bool) -> None:
        """Everything that follows is confirmed, and the acknowledgement on its way if the channel was still there."""
        ...

    def note_used_up(self, entry: JournalEntry) -> None:
        """What was noted as done, and not acknowledged, was matched with its redelivery: it will not come again."""
        ...

    def note_twin(self, key: bytes) -> None:
        """A second message with this key is in hand."""
        ...

    def note_lost(self) -> None:
        """Acknowledgements of the last minute may not have arrived."""
        ...

    def forget(self, entry: JournalEntry) -> None:
        """It will not be handed out again, or was too long ago."""
        ...

    def recall(self, key: bytes, *, is_unique: bool) -> Recollection | None:
        """What is known about an earlier hand-out; each one is recalled once, except a ``RUNNING`` one.

        Args:
            key: Of the redelivered message.
            is_unique: No other message has this key: the producer gave it an id.
        """
        ...

    def count_living(self) -> int:
        """Processes of this machine that serve the outbox now, this one among them."""
        ...

    def note_strangers(self) -> None:
        """Other machines serve the outbox too."""
        ...

    def strangers_age(self) -> float | None:
        """Seconds since that was noted last, ``None`` for never."""
        ...

    def has_dead(self) -> bool:
        """Whether a process that served this outbox died lately: what it had not started comes again, unnoted."""
        ...

    def put_back(self, recollection: Recollection) -> None:
        """The message was not started after all: let the next redelivery recall the same."""
        ...

    def copy_id(self, entry: JournalEntry, *, is_report: bool = False) -> bytes:
        """Identity of the copy that replaces this hand-out, or of a report about it that goes to the outbox too."""
        ...

    def cancel_copy(self, copy_id: bytes) -> None:
        """If that copy is in the outbox after all, it is to be dropped; known to every process from the return on.

        When that cannot be written now it is done as soon as it can, and `knows_alone` holds until then.
        """
        ...

    def knows_alone(self, copy_id: bytes) -> bool:
        """Only this process knows that the copy is cancelled: another one may still send it."""
        ...

    def replace_copy(self, copy_id: bytes) -> bytes:
        """Cancel a copy of this process that has to be published again; returns the identity for the new one."""
        ...

    def is_cancelled(self, copy_id: bytes) -> bool:
        """Whether a copy that was handed out is to be dropped."""
        ...

    async def close(self, *, is_clean: bool) -> None:
        """Make everything durable and close.

        Args:
            is_clean: Every acknowledgement certainly reached the broker: what is done can be forgotten.
        """
        ...


class JournalError(Exception):
    """The journal's folder cannot be used; names it and says why."""
