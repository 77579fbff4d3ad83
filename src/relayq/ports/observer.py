"""Facts the engine reports, once each; logs, metrics and the console are readers of the same stream."""

from __future__ import annotations

from typing import Protocol

from relayq.model import Attempt, DeliveryError, Message, Outcome


class Observer(Protocol):
    """One method per fact. Called on the event loop, on the hot path: must not block, must not raise."""

    def attempt_finished(
        self, message: Message | None, attempt: Attempt, outcome: Outcome, error: DeliveryError | None, latency: float
    ) -> None:
        """An attempt led to an outcome that is now published; ``latency`` in seconds since the message was consumed.

        ``message`` is ``None`` when the body was no JSON object; ``error`` carries the private reason of a failure.
        """
        ...

    def message_waits(self, reason: str) -> None:
        """A message went back towards the outbox without an attempt; ``reason`` is a short fixed phrase."""
        ...

    def session_opened(self, route: str, seconds: float) -> None:
        """An SMTP session became ready for its first transaction, ``seconds`` after it was begun to be opened."""
        ...

    def transaction_finished(self, waited: float, seconds: float) -> None:
        """An SMTP transaction is over, however it ended.

        Args:
            waited: Seconds from the hand-out of the message to the beginning of the transaction.
            seconds: What it took.
        """
        ...

    def session_closed(self, route: str, messages: int) -> None:
        """An SMTP session ended after ``messages`` messages."""
        ...

    def tls_failed(self, domain: str, host: str, policy: str, kind: str) -> None:
        """A policy of a domain kept mail from a host, or would have if it were enforced; for TLS reports (RFC 8460).

        Args:
            domain: Recipient domain.
            host: Mail host.
            policy: Policy type of a report: ``sts`` or ``tlsa``.
            kind: Result type of a report, such as ``certificate-expired``.
        """
        ...

    def resource_fetched(self, url: str) -> None:
        """Something a message needs came from the web, and from no cache; ``url`` is without credentials."""
        ...

    def warn(self, component: str, text: str) -> None:
        """Something an operator should know."""
        ...

    def alarm(self, component: str, text: str) -> None:
        """Something is only to be found in the log from now on."""
        ...

    def crash(self, component: str, error: BaseException) -> None:
        """An unexpected internal error was caught; nothing is lost."""
        ...
