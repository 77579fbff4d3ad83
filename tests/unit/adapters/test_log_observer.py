"""Counts, and the few lines a person has to read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relayq.adapters.application_log import ApplicationLog
from relayq.adapters.log_observer import LogObserver
from relayq.model import Attempt, DeliveryState, Outcome, Refused, Reply, ResultType, Scope, TimedOut

AT = datetime(2031, 3, 1, 9, 0, 4, tzinfo=UTC)
ACCEPTED = Attempt(state=DeliveryState.MESSAGE, result=ResultType.ACCEPTED, at=AT)
FAILED = Attempt(state=DeliveryState.DNS, result=ResultType.TIMEOUT, at=AT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relayq.log"


@pytest.fixture
def observer(path: Path) -> Iterator[LogObserver]:
    log = ApplicationLog([str(path)], "debug", "text")
    yield LogObserver(log)
    log.close()


def test_attempts_are_counted(observer: LogObserver, path: Path) -> None:
    for _ in range(3):
        observer.attempt_finished(None, ACCEPTED, Outcome.SUCCESS, None, 0.1)
    observer.attempt_finished(None, FAILED, Outcome.RETRY, TimedOut(DeliveryState.DNS, Scope.HOST, "why"), 0.1)
    figures = observer.figures()
    assert (figures["relayq_deliveries_total"], figures["relayq_retries_total"]) == (3, 1)
    assert figures['relayq_attempts_total{state="message",result="accepted",code=""}'] == 3
    assert figures['relayq_delivery_seconds_bucket{le="0.05"}'] == 0
    assert figures['relayq_delivery_seconds_bucket{le="0.1"}'] == figures["relayq_delivery_seconds_count"] == 4
    summary = observer.summary()
    assert "message/accepted 3" in summary
    assert "dns/timeout 1" in summary
    assert path.read_text().count("\n") == 1


def test_the_private_reason_of_a_local_failure_is_logged_and_a_reply_is_not(observer: LogObserver, path: Path) -> None:
    reply = Reply(550, "5.1.1", (b"no",))
    refused = Refused(DeliveryState.RCPTTO, Scope.MESSAGE, "refused", reply=reply)
    observer.attempt_finished(None, FAILED, Outcome.FAILURE, refused, 0.1)
    assert path.read_text() == ""
    local = TimedOut(DeliveryState.DNS, Scope.HOST, "nobody answers\n[Critical] forged")
    observer.attempt_finished(None, FAILED, Outcome.FAILURE, local, 0.1)
    [line] = path.read_text().splitlines()
    assert "nobody answers" in line


def test_sessions_and_waits_are_counted(observer: LogObserver) -> None:
    observer.session_opened("a", 0.2)
    observer.session_opened("a", 0.2)
    observer.session_closed("a", 5)
    observer.message_waits("held too long")
    assert observer.sessions == 1
    assert "held too long 1" in observer.summary()
    assert "sessions 1" in observer.summary()


def test_warnings_and_crashes_are_logged(observer: LogObserver, path: Path) -> None:
    observer.warn("broker", "it is full")
    observer.crash("pipeline", RuntimeError("a bug"))
    text = path.read_text()
    assert "[Warning]" in text
    assert "[Critical]" in text
    assert "RuntimeError" in text
    assert observer.crashes == 1


def test_what_is_only_in_the_log_is_critical(observer: LogObserver, path: Path) -> None:
    observer.alarm("publisher", "a result without a queue")
    [line] = path.read_text().splitlines()
    assert line.startswith("[Critical]")
    assert line.endswith("a result without a queue")


def test_an_empty_summary(observer: LogObserver) -> None:
    assert observer.summary() == "sessions 0; results: none; given back: none"


def test_how_long_things_take_is_counted(observer: LogObserver) -> None:
    observer.session_opened("a", 0.2)
    observer.transaction_finished(0.003, 7.0)
    figures = observer.figures()
    assert figures["relayq_connect_seconds_sum"] == 0.2
    assert figures['relayq_queue_wait_seconds_bucket{le="0.005"}'] == 1
    assert figures['relayq_transaction_seconds_bucket{le="5"}'] == 0
    assert figures['relayq_transaction_seconds_bucket{le="10"}'] == 1
