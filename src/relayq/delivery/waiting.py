"""A message that may not go now: no attempt, no result, back to the broker for a while."""

from __future__ import annotations


class NotNowError(Exception):
    """Give the message back to the broker instead of holding it (spec delivery.md 2.1, amqp.md 9).

    Attributes:
        seconds: How long the broker keeps it; its own ``delayed`` is not touched.
        reason: Short fixed phrase for the counters.
    """

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.reason = reason


PARKED_SECONDS = 60.0
"""Delay of a message that is due but may not start, for a reason that says nothing about its destination."""

JOURNAL_IS_DOWN = "journal is down"

CRASHED_SECONDS = 300.0
"""Delay of a message whose handling failed unexpectedly (spec amqp.md 6)."""
