"""Everything that can end an attempt without acceptance.

Raised where the state is known, turned into an :class:`~relayq.model.attempt.Attempt` at one place, the pipeline.
Whether it is final or transient is not the exception's word but ``relayq.policy.retry``'s.
"""

from __future__ import annotations

import enum
from typing import ClassVar

from relayq.model.attempt import DeliveryState, ResultType
from relayq.model.reply import Reply


class Scope(enum.Enum):
    """How far a failure reaches: what else it says something about."""

    MESSAGE = "message"
    """This message or its recipient only; the session can go on after RSET."""
    SESSION = "session"
    """The session is over, the host may be fine."""
    HOST = "host"
    """This host is in trouble: another candidate may be tried, others need not try it now."""
    DESTINATION = "destination"
    """The whole destination: no other host would answer differently."""


class DeliveryError(Exception):
    """An attempt ended in ``state`` with ``result``.

    Attributes:
        state: Where it ended.
        result: How; fixed by the subclass.
        scope: How far the failure reaches.
        reply: The reply that led here, if a well-formed one was received.
        received: What was received instead of a well-formed reply, already cut to a bounded length.
        egress_ip: Local address if a connection had been established.
        remote_ip: Remote address if a connection had been established.
        ordinal: Messages the connection has been used for, if one had been established.
        details: Members of an extended result about the connection, in order (spec results.md 10).
        was_tried: False for the copy of another message's failure (spec delivery.md 8.4).
        attempted: Local address (``None``: the host's choice) and remote address of a connection that failed.
        reason: For the application log only: never published (spec results.md 2).
        retry_after: Seconds until the next attempt where the kind of failure fixes it, else ``None``.
        is_final: Verdict where the kind of failure fixes it (``None``: ``policy.retry`` looks it up).
        cause: Short name of the local cause, to pick a local code (spec results.md 9), e.g. ``"nxdomain"``.
    """

    result: ClassVar[ResultType]

    def __init__(
        self,
        state: DeliveryState,
        scope: Scope,
        reason: str,
        *,
        reply: Reply | None = None,
        received: bytes | None = None,
        is_final: bool | None = None,
        retry_after: float | None = None,
        cause: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.state = state
        self.scope = scope
        self.reason = reason
        self.reply = reply
        self.received = received
        self.is_final = is_final
        self.retry_after = retry_after
        self.cause = cause
        self.egress_ip: str | None = None
        self.remote_ip: str | None = None
        self.ordinal: int | None = None
        self.attempted: tuple[str | None, str] | None = None
        self.details: tuple[tuple[str, object], ...] = ()
        self.was_tried = True

    def __str__(self) -> str:
        """State, result and reason, for logs."""
        return f"{self.state}/{self.result}: {self.reason}"


class Refused(DeliveryError):
    """Somebody said no: the server, a rule of ours, DNS, or a store without the body."""

    result = ResultType.ERROR


class TimedOut(DeliveryError):
    """No answer in time, or the message's own time is up."""

    result = ResultType.TIMEOUT


class ConnectionLost(DeliveryError):
    """The connection ended while something was due."""

    result = ResultType.LOST


class Unusable(DeliveryError):
    """An answer, or a message, that cannot be understood."""

    result = ResultType.INVALID


ERROR_BY_RESULT: dict[ResultType, type[DeliveryError]] = {
    kind.result: kind for kind in (Refused, TimedOut, ConnectionLost, Unusable)
}
