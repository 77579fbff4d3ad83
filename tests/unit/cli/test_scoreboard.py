"""The demo's verdict: exactly one final result per message, or not."""

from __future__ import annotations

import json

import pytest

from relayq.cli.scoreboard import FAILURE, RETRIED, SUCCESS, Scoreboard
from relayq.trial.generate import ID_PROPERTY


def a_result(trial_id: str, *attempts: str) -> bytes:
    results = [dict(zip(("state", "result"), attempt.split("/"), strict=True)) for attempt in attempts]
    return json.dumps({ID_PROPERTY: trial_id, "results": results}).encode()


@pytest.fixture
def score() -> Scoreboard:
    score = Scoreboard()
    for number in range(4):
        score.add_message(f"m{number}", float(number))
    return score


def test_counts(score: Scoreboard) -> None:
    score.add_result(a_result("m0", "message/accepted"), 1.0)
    score.add_result(a_result("m1", "rcptto/error", "message/accepted"), 3.0)
    score.add_result(a_result("m2", "rcptto/error"), 2.5)
    assert (score.accepted, score.retried, score.failed) == (1, 1, 1)
    assert (score.published, score.finished, score.is_perfect) == (4, 3, False)
    assert score.attempts == {("message", "accepted"): 2, ("rcptto", "error"): 2}
    assert set(score.samples) == {SUCCESS, RETRIED, FAILURE}
    score.add_result(a_result("m3", "message/accepted"), 4.0)
    assert score.is_perfect
    assert (score.latency(0.5), score.latency(0.99)) == (1.0, 2.0)


def test_a_second_final_result_is_one_too_many(score: Scoreboard) -> None:
    for number in (0, 1, 2, 3, 3):
        score.add_result(a_result(f"m{number}", "message/accepted"), 5.0)
    assert (score.finished, score.accepted, score.repeated, score.is_perfect) == (4, 4, 1, False)


@pytest.mark.parametrize(
    "body", [b"no json", b"{}", a_result("other", "message/accepted"), b'{"trial-id":"m0","results":[7]}']
)
def test_a_result_of_no_message_is_noticed(score: Scoreboard, body: bytes) -> None:
    score.add_result(body, 1.0)
    assert (score.unknown, score.finished, score.is_perfect) == (1, 0, False)


def test_nothing_yet() -> None:
    assert Scoreboard().latency(0.99) == 0.0
