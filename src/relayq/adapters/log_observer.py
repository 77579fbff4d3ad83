"""Counts what the engine reports, and writes to the application log what a person has to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from relayq.adapters.figures import Figures, Histogram, series
from relayq.model import Attempt, DeliveryError, Message, Outcome

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_OUTCOMES: Final = {
    Outcome.SUCCESS: "relayq_deliveries_total",
    Outcome.FAILURE: "relayq_failures_total",
    Outcome.RETRY: "relayq_retries_total",
}


class EventLog(Protocol):
    """Where lines for people go."""

    def write(self, level: str, component: str, text: str, error: BaseException | None = None) -> None:
        """One event; see ``adapters.application_log``."""
        ...


AttemptWriter = Callable[[Message | None, Attempt, Outcome], None]
"""Takes every finished attempt."""


class LogObserver:
    """``ports.Observer`` over the application log.

    Attributes:
        write_attempt: The send log, ``None`` = there is none.
        write_download: The download log, ``None`` = there is none.
        attempts: By state, result, class of the reply code (0 without any) and outcome.
        waits: Messages given back, by reason.
        tls_failures: Sessions that policies of domains prevented, by policy and kind.
        sessions: Sessions opened and not yet closed.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.write_attempt: AttemptWriter | None = None
        self.write_download: Callable[[str], None] | None = None
        self.attempts: Counter[tuple[str, str, int, Outcome]] = Counter()
        self.waits: Counter[str] = Counter()
        self.tls_failures: Counter[tuple[str, str]] = Counter()
        self.sessions = 0
        self.crashes = 0
        self._all_sessions = 0
        self._alarms = 0
        self._seconds = Histogram("relayq_delivery_seconds", SECONDS)
        self._waiting = Histogram("relayq_queue_wait_seconds", SECONDS)
        self._connecting = Histogram("relayq_connect_seconds", SECONDS)
        self._transacting = Histogram("relayq_transaction_seconds", SECONDS)

    def attempt_finished(
        self, message: Message | None, attempt: Attempt, outcome: Outcome, error: DeliveryError | None, latency: float
    ) -> None:
        """Count it; the private reason of a local failure is logged, for the result does not carry it."""
        if self.write_attempt is not None:
            self.write_attempt(message, attempt, outcome)
        self.attempts[attempt.state, attempt.result, (attempt.code or 0) // 100, outcome] += 1
        self._seconds.observe(latency)
        if error is not None and error.reply is None:
            recipient = message.recipient.text if message is not None else "unusable message"
            self._log.write("info", "delivery", f"{recipient}: {error} ({outcome})")

    def message_waits(self, reason: str) -> None:
        """Count it."""
        self.waits[reason] += 1

    def resource_fetched(self, url: str) -> None:
        """Write it down."""
        if self.write_download is not None:
            self.write_download(url)

    def session_opened(self, route: str, seconds: float) -> None:
        """Count it."""
        del route
        self._connecting.observe(seconds)
        self.sessions += 1
        self._all_sessions += 1

    def transaction_finished(self, waited: float, seconds: float) -> None:
        """Count it."""
        self._waiting.observe(waited)
        self._transacting.observe(seconds)

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
        """Count and log it."""
        self._alarms += 1
        self._log.write("critical", component, text)

    def crash(self, component: str, error: BaseException) -> None:
        """Log it with its trace."""
        self.crashes += 1
        self._log.write("critical", component, f"internal error, the message is tried again later: {error!r}", error)

    def figures(self) -> Figures:
        """Everything counted so far."""
        figures: Figures = dict.fromkeys(_OUTCOMES.values(), 0)
        for (state, result, code, outcome), count in self.attempts.items():
            figures[_OUTCOMES[outcome]] += count
            name = series("relayq_attempts_total", state=state, result=result, code=f"{code}xx" if code else "")
            figures[name] = figures.get(name, 0) + count
        for histogram in (self._seconds, self._waiting, self._connecting, self._transacting):
            histogram.write_to(figures)
        for reason, count in self.waits.items():
            figures[series("relayq_given_back_total", reason=reason)] = count
        for (policy, kind), count in self.tls_failures.items():
            figures[series("relayq_tls_failures_total", policy=policy, kind=kind)] = count
        figures["relayq_sessions_total"] = self._all_sessions
        figures["relayq_crashes_total"] = self.crashes
        figures["relayq_unroutable_results_total"] = self._alarms
        return figures

    def summary(self) -> str:
        """One line of counts."""
        results: Counter[tuple[str, str]] = Counter()
        for (state, result, _, _), count in self.attempts.items():
            results[state, result] += count
        shown = ", ".join(f"{state}/{result} {count}" for (state, result), count in sorted(results.items()))
        waits = ", ".join(f"{reason} {count}" for reason, count in sorted(self.waits.items()))
        return f"sessions {self.sessions}; results: {shown or 'none'}; given back: {waits or 'none'}"
