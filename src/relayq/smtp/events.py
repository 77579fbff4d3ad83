"""What the client role reports to the session that drives it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from relayq.model import DeliveryState, Reply, ResultType


class Ready(msgspec.Struct, frozen=True):
    """The dialogue is done, or the server has forgotten the refused mail: a transaction may begin."""


class StartTls(msgspec.Struct, frozen=True):
    """The server waits for the TLS handshake; call ``tls_established`` after it, or close."""


class RecipientAccepted(msgspec.Struct, frozen=True):
    """Only now the content is wanted: ``provide_content`` or ``abandon`` is due."""


class Delivered(msgspec.Struct, frozen=True):
    """The server took responsibility for the mail; the next transaction may begin at once."""

    reply: Reply


class Refused(msgspec.Struct, frozen=True):
    """A well-formed no, or the peer lacks what is demanded.

    Attributes:
        state: Where.
        reply: What the server said; ``None`` when something is missing that it did not announce.
        cause: ``starttls-missing``, ``auth-missing`` or ``smtputf8-missing`` when there is no reply.
        is_usable: The session goes on: a :class:`Ready`, or a :class:`Closed`, follows. Otherwise it must be closed.
    """

    state: DeliveryState
    reply: Reply | None
    cause: str | None = None
    is_usable: bool = False


class Broken(msgspec.Struct, frozen=True):
    """The dialogue cannot go on; the session must be closed.

    Attributes:
        state: State of the first unanswered command.
        result: ``INVALID`` or ``LOST``.
        received: What arrived instead of a reply, cut to a bounded length; ``None`` when nothing did or it is a reply.
        reply: A reply that has no meaning where it came.
    """

    state: DeliveryState
    result: ResultType
    received: bytes | None = None
    reply: Reply | None = None


class Closed(msgspec.Struct, frozen=True):
    """The session is over while nothing of it was due to any mail.

    Attributes:
        reply: What the server said last, if that ended the session and was asked for.
    """

    reply: Reply | None = None


Event: TypeAlias = Ready | StartTls | RecipientAccepted | Delivered | Refused | Broken | Closed
