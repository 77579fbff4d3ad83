"""A clock that stands still until it is told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

DEFAULT_START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


class ManualClock:
    """`relayq.ports.Clock` moved by hand; both of its clocks go forward together.

    Whoever waits for an instant subscribes: the event loop's own timers know nothing of this clock.
    """

    def __init__(self, start: datetime = DEFAULT_START, monotonic: float = 1000.0) -> None:
        self._now = start
        self._monotonic = monotonic
        self._subscribers: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """Aware UTC instant."""
        return self._now

    def monotonic(self) -> float:
        """Seconds, forward only."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, then tell the subscribers in the order they came.

        Raises:
            ValueError: Negative.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        self._notify()

    def set_now(self, now: datetime) -> None:
        """Set the wall clock, as an operator or NTP does: the monotonic one stays."""
        self._now = now
        self._notify()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` after every change; returns what ends that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def _notify(self) -> None:
        for callback in tuple(self._subscribers):
            callback()
