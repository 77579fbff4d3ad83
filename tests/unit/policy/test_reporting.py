"""The table of spec delivery.md 16.1."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relayq.model import DsnOptions, Message, Outcome, parse_address
from relayq.policy.reporting import ReportAction, ReportingRules, decide_report, report_queue, returns_full

NOW = datetime(2031, 3, 1, 12, 0, 0, tzinfo=UTC)
RULES = ReportingRules(queue="outbox")


def message(**fields: Any) -> Message:
    given = {"sender": parse_address("b@shop.test"), "recipient": parse_address("anna@example.test"), **fields}
    return Message(members={}, mime=b"\r\n", **given)


def asking(*notify: str, **options: Any) -> Message:
    return message(dsn=DsnOptions(notify=notify or None, **options))


def decide(
    given: Message, outcome: Outcome, *, age: float = 14_400, peer: bool = False, rules: ReportingRules = RULES
) -> ReportAction | None:
    return decide_report(given, outcome, NOW - timedelta(seconds=age), NOW, rules, peer_reports=peer)


@pytest.mark.parametrize(
    ("notify", "success", "failure", "retry"),
    [
        ((), None, "failed", None),
        (("SUCCESS",), "relayed", None, None),
        (("FAILURE",), None, "failed", None),
        (("DELAY",), None, None, "delayed"),
        (("SUCCESS", "FAILURE", "DELAY"), "relayed", "failed", "delayed"),
        (("NEVER",), None, None, None),
    ],
)
@pytest.mark.parametrize("is_configured", [False, True])
def test_who_reports(
    notify: tuple[str, ...], success: str | None, failure: str | None, retry: str | None, *, is_configured: bool
) -> None:
    given = message() if is_configured else asking(*notify)
    rules = ReportingRules(queue="dsn", notify=notify) if is_configured else RULES

    assert decide(given, Outcome.SUCCESS, rules=rules) == success
    assert decide(given, Outcome.FAILURE, rules=rules) == failure
    assert decide(given, Outcome.RETRY, rules=rules) == retry


def test_the_message_wins_over_the_configuration() -> None:
    rules = ReportingRules(queue="dsn", notify=("DELAY",))

    assert decide(asking("SUCCESS"), Outcome.RETRY, rules=rules) is None
    assert decide(asking("SUCCESS"), Outcome.SUCCESS, rules=rules) == "relayed"
    assert decide(asking(ret="FULL"), Outcome.RETRY, rules=rules) == "delayed"


def test_a_peer_that_reports_answers_for_success_only() -> None:
    given = asking("SUCCESS", "FAILURE", "DELAY")

    assert decide(given, Outcome.SUCCESS, peer=True) is None
    assert decide(given, Outcome.FAILURE, peer=True) == "failed"
    assert decide(given, Outcome.RETRY, peer=True) == "delayed"


@pytest.mark.parametrize(("age", "expected"), [(0, None), (14_399, None), (14_400, "delayed"), (900_000, "delayed")])
def test_a_delay_is_reported_at_its_age(age: float, expected: str | None) -> None:
    assert decide(asking("DELAY"), Outcome.RETRY, age=age) == expected


def test_the_age_can_be_configured() -> None:
    assert decide(asking("DELAY"), Outcome.RETRY, age=60, rules=ReportingRules(queue="d", delay_after=60)) == "delayed"


def test_a_delay_is_reported_once() -> None:
    assert decide(asking("DELAY", delay_sent=True), Outcome.RETRY) is None
    assert decide(asking("DELAY", "FAILURE", delay_sent=True), Outcome.FAILURE) == "failed"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_nobody_is_told_where_nobody_can_be(outcome: Outcome) -> None:
    dsn = DsnOptions(notify=("SUCCESS", "FAILURE", "DELAY"))

    assert decide(message(sender=None, dsn=dsn), outcome) is None
    assert decide(message(dsn=dsn), outcome, rules=ReportingRules()) is None
    assert decide(message(dsn=dsn, dsn_queue="mine"), outcome, rules=ReportingRules()) is not None


def test_the_queue_of_the_message_wins() -> None:
    assert report_queue(message(dsn_queue="mine"), RULES) == "mine"
    assert report_queue(message(), RULES) == "outbox"
    assert report_queue(message(), ReportingRules()) == ""


def test_only_a_failure_returns_the_whole_message() -> None:
    full = asking(ret="FULL")

    assert returns_full(full, "failed", RULES)
    assert not returns_full(full, "delayed", RULES)
    assert not returns_full(full, "relayed", RULES)
    assert not returns_full(message(), "failed", RULES)
    assert returns_full(message(), "failed", ReportingRules(ret="FULL"))
    assert not returns_full(asking(ret="HDRS"), "failed", ReportingRules(ret="FULL"))
