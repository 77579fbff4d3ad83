"""Counts what the engine reports, and writes to the application log what a person has to know."""

from __future__ import annotations

from collections import Counter

from relayq.adapters.application_log import ApplicationLog
from relayq.model import Attempt, DeliveryError, Message, Outcome


class LogObserver:
    """``ports.Observer`` over the application log.

    Attributes:
        outcomes: Attempts by outcome.
        results: Attempts by state and result.
        waits: Messages given back, by reason.
        tls_failures: Sessions that policies of domains prevented, by policy and kind.
        sessions: Sessions opened and not yet closed.
    """

    def __init__(self, log: ApplicationLog) -> None:
        self._log = log
        self.outcomes: Counter[Outcome] = Counter()
        self.results: Counter[tuple[str, str]] = Counter()
        self.waits: Counter[str] = Counter()
        self.tls_failures: Counter[tuple[str, str]] = Counter()
        self.sessions = 0
        self.crashes = 0

    def attempt_finished(
        self, message: Message | None, attempt: Attempt, outcome: Outcome, error: DeliveryError | None, latency: float
    ) -> None:
        """Count it; the private reason of a local failure is logged, for the result does not carry it."""
        del latency
        self.outcomes[outcome] += 1
        self.results[attempt.state, attempt.result] += 1
        if error is not None and error.reply is None:
            recipient = message.recipient.text if message is not None else "unusable message"
            self._log.write("info", "delivery", f"{recipient}: {error} ({outcome})")

    def message_waits(self, reason: str) -> None:
        """Count it."""
        self.waits[reason] += 1

    def session_opened(self, route: str) -> None:
        """Count it."""
        del route
        self.sessions += 1

    def session_closed(self, route: str, messages: int) -> None:
        """Count it."""
        del route, messages
        self.sessions -= 1

    def tls_failed(self, domain: str, host: str, policy: str, kind: str) -> None:
        """Count it; what ended an attempt is logged with the attempt."""
        del domain, host
        self.tls_failures[policy, kind] += 1

    def warn(self, component: str, text: str) -> None:
        """Log it."""
        self._log.write("warning", component, text)

    def alarm(self, component: str, text: str) -> None:
        """Log it."""
        self._log.write("critical", component, text)

    def crash(self, component: str, error: BaseException) -> None:
        """Log it with its trace."""
        self.crashes += 1
        self._log.write("critical", component, f"internal error, the message is tried again later: {error!r}", error)

    def summary(self) -> str:
        """One line of counts."""
        results = ", ".join(f"{state}/{result} {count}" for (state, result), count in sorted(self.results.items()))
        waits = ", ".join(f"{reason} {count}" for reason, count in sorted(self.waits.items()))
        return f"sessions {self.sessions}; results: {results or 'none'}; given back: {waits or 'none'}"
