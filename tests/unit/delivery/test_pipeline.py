"""What a failure looks like in a result, and which one is no failure of the mail at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from relayq.delivery.attempts import expired, failed_attempt
from relayq.delivery.pipeline import _was_dead
from relayq.model import (
    ConnectionLost,
    DeliveryError,
    DeliveryState,
    Refused,
    Reply,
    ResultType,
    Scope,
    TimedOut,
    Unusable,
)
from tests.support.fake_sessions import FakeSession

AT = datetime(2031, 3, 1, 9, 0, 4, tzinfo=UTC)
S = DeliveryState


def connected(error: DeliveryError) -> DeliveryError:
    error.egress_ip, error.remote_ip, error.ordinal = "192.0.2.1", "192.0.2.2", 3
    return error


def test_a_failure_with_a_reply_tells_what_was_said_and_where() -> None:
    reply = Reply(550, "5.1.1", (b"No such", b"user"))
    attempt = failed_attempt(connected(Refused(S.RCPTTO, Scope.MESSAGE, "private", reply=reply)), AT)
    assert (attempt.state, attempt.result, attempt.at) == (S.RCPTTO, ResultType.ERROR, AT)
    assert (attempt.egress_ip, attempt.remote_ip, attempt.ordinal) == ("192.0.2.1", "192.0.2.2", 3)
    assert (attempt.code, attempt.status, attempt.description) == (550, "5.1.1", "No such user")


def test_garbage_is_described_without_a_code() -> None:
    attempt = failed_attempt(connected(Unusable(S.EHLO, Scope.HOST, "private", received=b"HTTP\xff\n1.1")), AT)
    assert (attempt.code, attempt.status, attempt.description) == (None, None, "HTTP\ufffd 1.1")


def test_a_local_failure_says_nothing_unless_asked() -> None:
    error = Refused(S.DNS, Scope.DESTINATION, "private", cause="nullmx")
    silent = failed_attempt(error, AT)
    assert (silent.code, silent.status, silent.description, silent.remote_ip) == (None, None, None, None)
    told = failed_attempt(error, AT, local_codes=True)
    assert (told.code, told.status, told.description) == (556, "5.1.10", "domain accepts no mail")


def test_codes_of_our_own_never_replace_what_the_peer_said() -> None:
    error = Unusable(S.INTRO, Scope.HOST, "private", received=b"x")
    attempt = failed_attempt(error, AT, local_codes=True)
    assert (attempt.code, attempt.description) == (None, "x")


def test_the_private_reason_is_never_published() -> None:
    for local_codes in (False, True):
        attempt = failed_attempt(expired("a secret reason"), AT, local_codes=local_codes)
        assert "secret" not in (attempt.description or "")
        assert (attempt.state, attempt.result) == (S.AMQP, ResultType.TIMEOUT)


def dead(error: DeliveryError, *, messages: int = 2, has_answered: bool = False) -> bool:
    session: Any = FakeSession(None)
    session.messages = messages
    session.has_answered = has_answered
    return _was_dead(error, session)


SILENT = TimedOut(S.MAILFROM, Scope.HOST, "")
LOST = ConnectionLost(S.RCPTTO, Scope.HOST, "")


@pytest.mark.parametrize("error", [SILENT, LOST, ConnectionLost(S.MAILFROM, Scope.HOST, "")])
def test_a_reused_connection_without_a_sign_of_life_was_dead(error: DeliveryError) -> None:
    assert dead(error)
    assert not dead(error, messages=1)
    assert not dead(error, has_answered=True)


@pytest.mark.parametrize(("code", "is_dead"), [(421, True), (503, True), (451, False), (550, False), (250, False)])
def test_replies_that_mean_that_the_connection_is_gone(code: int, is_dead: bool) -> None:
    reply = Reply(code, None, (b"",))
    assert dead(Refused(S.MAILFROM, Scope.MESSAGE, "", reply=reply)) is is_dead


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLost(S.DATA, Scope.SESSION, ""),
        TimedOut(S.MESSAGE, Scope.SESSION, ""),
        ConnectionLost(S.STORAGE, Scope.SESSION, ""),
        Unusable(S.MAILFROM, Scope.HOST, "", received=b"garbage"),
        Refused(S.RCPTTO, Scope.HOST, "", cause="smtputf8-missing"),
        TimedOut(S.MAILFROM, Scope.SESSION, "the attempt took too long"),
        expired("deadline passed while waiting"),
    ],
    ids=str,
)
def test_everything_else_is_about_the_mail_or_the_host(error: DeliveryError) -> None:
    assert not dead(error)
