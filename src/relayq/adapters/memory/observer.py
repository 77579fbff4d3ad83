"""An observer that keeps what it was told."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from relayq.model import Attempt, DeliveryError, Message, Outcome

Event = TypeVar("Event", bound=msgspec.Struct)


class AttemptFinished(msgspec.Struct, frozen=True):
    """Arguments of `Observer.attempt_finished`."""

    message: Message | None
    attempt: Attempt
    outcome: Outcome
    error: DeliveryError | None
    latency: float


class MessageWaits(msgspec.Struct, frozen=True):
    """Arguments of `Observer.message_waits`."""

    reason: str


class SessionOpened(msgspec.Struct, frozen=True):
    """Arguments of `Observer.session_opened`."""

    route: str
    seconds: float = 0.0


class SessionClosed(msgspec.Struct, frozen=True):
    """Arguments of `Observer.session_closed`."""

    route: str
    messages: int


class TlsFailed(msgspec.Struct, frozen=True):
    """Arguments of `Observer.tls_failed`."""

    domain: str
    host: str
    policy: str
    kind: str


class ResourceFetched(msgspec.Struct, frozen=True):
    """Argument of `Observer.resource_fetched`."""

    url: str


class Warned(msgspec.Struct, frozen=True):
    """Arguments of `Observer.warn`."""

    component: str
    text: str


class CrashCaught(msgspec.Struct, frozen=True):
    """Arguments of `Observer.crash`."""

    component: str
    error: BaseException


class RecordingObserver:
    """`relayq.ports.Observer` that keeps every event.

    Attributes:
        events: Everything in the order it was reported; grows without bound, so not for a running server.
    """

    def __init__(self) -> None:
        self.events: list[msgspec.Struct] = []

    def all_of(self, kind: type[Event]) -> list[Event]:
        """Return the events of one kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def attempts(self) -> list[AttemptFinished]:
        """Finished attempts, oldest first."""
        return self.all_of(AttemptFinished)

    @property
    def waits(self) -> list[str]:
        """Reasons for which messages went back without an attempt, oldest first."""
        return [event.reason for event in self.all_of(MessageWaits)]

    @property
    def warnings(self) -> list[Warned]:
        """Warnings, oldest first."""
        return self.all_of(Warned)

    @property
    def crashes(self) -> list[CrashCaught]:
        """Unexpected errors, oldest first."""
        return self.all_of(CrashCaught)

    def attempt_finished(
        self, message: Message | None, attempt: Attempt, outcome: Outcome, error: DeliveryError | None, latency: float
    ) -> None:
        """Keep the event."""
        self.events.append(AttemptFinished(message, attempt, outcome, error, latency))

    def message_waits(self, reason: str) -> None:
        """Keep the event."""
        self.events.append(MessageWaits(reason))

    def resource_fetched(self, url: str) -> None:
        """Keep the event."""
        self.events.append(ResourceFetched(url))

    def session_opened(self, route: str, seconds: float) -> None:
        """Keep the event."""
        self.events.append(SessionOpened(route, seconds))

    def transaction_finished(self, waited: float, seconds: float) -> None:
        """Forget it; how long things take is nothing to compare."""

    def session_closed(self, route: str, messages: int) -> None:
        """Keep the event."""
        self.events.append(SessionClosed(route, messages))

    def tls_failed(self, domain: str, host: str, policy: str, kind: str) -> None:
        """Keep the event."""
        self.events.append(TlsFailed(domain, host, policy, kind))

    def warn(self, component: str, text: str) -> None:
        """Keep the event."""
        self.events.append(Warned(component, text))

    def alarm(self, component: str, text: str) -> None:
        """Keep it among the warnings: a test looks for the text."""
        self.warn(component, text)

    def crash(self, component: str, error: BaseException) -> None:
        """Keep the event."""
        self.events.append(CrashCaught(component, error))
