"""What supervisor and workers say to each other, over the socket of ``channel``."""

from __future__ import annotations

import msgspec

from relayq.delivery.lane import Route
from relayq.delivery.ledger import Knowledge
from relayq.model import DeliveryError, DeliveryState, Reply, ResultType, Scope
from relayq.model.errors import ERROR_BY_RESULT
from relayq.ports import LimitKey
from relayq.supervisor.permits import Granted, Limits, Recalled

# --- to a worker ------------------------------------------------------------------------------------------------------


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The first message: who it is and what it shall do.

    Attributes:
        number: 1 for the first worker.
        settings: See ``config.transfer``.
        limits: Shared with the others.
    """

    number: int
    settings: bytes
    limits: Limits


class NewSettings(msgspec.Struct, frozen=True, tag=True):
    """The configuration was reloaded."""

    settings: bytes
    limits: Limits


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Drain and end."""


class Asked(msgspec.Struct, frozen=True, tag=True):
    """Another worker got a message that was handed out before: is its outcome known?"""

    number: int
    key: bytes
    is_unique: bool
    is_owed: bool


class Told(msgspec.Struct, frozen=True, tag=True):
    """The end of a question of this worker's: what the others know."""

    number: int
    knowledge: Knowledge


# --- from a worker ----------------------------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True, tag=True):
    """It consumes the outbox now."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot start, and ends with this exit code."""

    exit_code: int


class LogLine(msgspec.Struct, frozen=True, tag=True):
    """An event for the application log; the trace of an error may be empty."""

    level: str
    component: str
    text: str
    trace: str


class Status(msgspec.Struct, frozen=True, tag=True):
    """Once a second: that it lives, what it does, and what it has counted.

    Attributes:
        state: One of ``adapters.figures.State``.
        figures: Values by series.
        summary: For people.
    """

    state: str
    figures: dict[str, float]
    summary: str


class Ask(msgspec.Struct, frozen=True, tag=True):
    """It is short of permits."""

    key: LimitKey
    count: int


class GaveBack(msgspec.Struct, frozen=True, tag=True):
    """It has permits to spare."""

    key: LimitKey
    count: int


class Question(msgspec.Struct, frozen=True, tag=True):
    """It got a message that was handed out before; the number is its own."""

    number: int
    key: bytes
    is_unique: bool
    is_owed: bool


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The answer to :class:`Asked`."""

    number: int
    knowledge: Knowledge


# --- both ways --------------------------------------------------------------------------------------------------------


class Failure(msgspec.Struct, frozen=True):
    """A :class:`~relayq.model.DeliveryError` as values."""

    state: DeliveryState
    result: ResultType
    scope: Scope
    reason: str
    reply: Reply | None
    received: bytes | None
    cause: str | None

    @classmethod
    def of(cls, error: DeliveryError) -> Failure:
        """What others need to know of it."""
        return cls(error.state, error.result, error.scope, error.reason, error.reply, error.received, error.cause)

    def as_error(self) -> DeliveryError:
        """The error again."""
        return ERROR_BY_RESULT[self.result](
            self.state, self.scope, self.reason, reply=self.reply, received=self.received, cause=self.cause
        )


class MarkedDown(msgspec.Struct, frozen=True, tag=True):
    """A host is down."""

    route: Route
    failure: Failure
    seconds: float


class Cleared(msgspec.Struct, frozen=True, tag=True):
    """A host that was down works again."""

    route: Route


ToWorker = Setup | NewSettings | Stop | Asked | Told | Granted | Recalled | MarkedDown | Cleared
FromWorker = Started | Failed | LogLine | Status | Ask | GaveBack | Question | Answer | MarkedDown | Cleared
