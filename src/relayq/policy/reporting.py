"""Who reports to the sender what became of a message, and when (spec delivery.md 16.1, RFC 3461 section 5.2).

Pure: facts and rules in, a decision out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from relayq.model import Message, Outcome

ReportAction = Literal["failed", "delayed", "relayed"]
"""What a report says, in the word of RFC 3464 section 2.3.3."""

_DEFAULT_NOTIFY = ("FAILURE",)


class ReportingRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings (spec config.md 8.4).

    Attributes:
        queue: Where reports go when a message names no queue of its own; empty: then there are none.
        notify: Events to report for messages that do not say; empty counts as failure.
        ret: How much of a message a report returns when the message does not say.
        delay_after: Seconds from the first due pick-up until a delay is reported.
    """

    queue: str = ""
    notify: tuple[str, ...] = ()
    ret: str = "HDRS"
    delay_after: float = 14_400.0


def report_queue(message: Message, rules: ReportingRules) -> str:
    """Where reports about a message go, empty for nowhere."""
    return message.dsn_queue or rules.queue


def decide_report(
    message: Message, outcome: Outcome, seen_at: datetime, now: datetime, rules: ReportingRules, *, peer_reports: bool
) -> ReportAction | None:
    """What to tell the sender after an attempt, ``None`` for nothing.

    Args:
        message: As it was before the attempt.
        outcome: What the attempt meant.
        seen_at: First due pick-up.
        now: When the attempt ended.
        rules: Settings.
        peer_reports: The server that accepted the message announces DSN, so it answers for success from now on.
    """
    if message.sender is None or not report_queue(message, rules):
        return None
    notify = (message.dsn.notify if message.dsn is not None else None) or rules.notify or _DEFAULT_NOTIFY
    if outcome is Outcome.SUCCESS:
        return "relayed" if "SUCCESS" in notify and not peer_reports else None
    if outcome is Outcome.FAILURE:
        return "failed" if "FAILURE" in notify else None
    if "DELAY" not in notify or (message.dsn is not None and message.dsn.delay_sent):
        return None
    return "delayed" if (now - seen_at).total_seconds() >= rules.delay_after else None


def returns_full(message: Message, action: ReportAction, rules: ReportingRules) -> bool:
    """Whether a report returns the whole message: only one that says it failed may (RFC 3461 section 4.3)."""
    ret = (message.dsn.ret if message.dsn is not None else None) or rules.ret
    return action == "failed" and ret == "FULL"
