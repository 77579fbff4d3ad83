"""A session around its TLS handshake: what is said too early, too late, or in clear."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from relayq.model import DeliveryState, ResultType, Scope
from relayq.ports import Secured, TlsError, TlsFailureKind
from relayq.smtp import Event, Ready, SmtpClient, StartTls, TlsMode
from tests.unit.delivery.test_session import NEVER, FakeTransport, Stage, cell, error_of

LIMIT = 30  # smtp-out-timeout-starttls of the stage


class Handshake:
    """A handshake that ends when the test says so."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.done: asyncio.Future[Secured] = stage.loop.create_future()
        self.is_begun = False
        self.encrypted = FakeTransport(stage.loop)
        self.encrypted.protocol = stage.session

    async def start_tls(self, transport: asyncio.Transport) -> Secured:
        assert transport is self.stage.transport
        self.is_begun = True
        return await self.done

    def succeed(self) -> None:
        self.done.set_result(Secured(self.encrypted))
        self.stage.loop.settle()

    def fail(self, error: Exception) -> None:
        self.done.set_exception(error)
        self.stage.loop.settle()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def start(stage: Stage, mode: TlsMode = TlsMode.REQUIRED) -> asyncio.Task[Event]:
    return stage.run(stage.session.start(SmtpClient(ehlo_name="mta.test", tls=mode), NEVER))


def ask(stage: Stage) -> None:
    """Up to the 220 of STARTTLS."""
    task = start(stage)
    stage.say(b"220 mx.test", b"250-mx.test\r\n250 STARTTLS", b"220 go")
    assert isinstance(task.result(), StartTls)
    stage.transport.written.clear()


def shake(stage: Stage, deadline: float = NEVER) -> tuple[Handshake, asyncio.Task[Any]]:
    handshake = Handshake(stage)
    return handshake, stage.run(stage.session.encrypt(handshake.start_tls, deadline))


def test_the_dialogue_goes_on_over_the_new_transport(stage: Stage) -> None:
    ask(stage)
    handshake, task = shake(stage)
    handshake.succeed()
    assert task.result() is stage.session.secured
    resumed = stage.run(stage.session.resume(NEVER))
    assert bytes(handshake.encrypted.written) == b"EHLO mta.test\r\n"
    assert stage.transport.written == b""
    stage.say(b"250 mx.test")
    assert isinstance(resumed.result(), Ready)
    stage.session.connection_lost(None)


@pytest.mark.parametrize(
    ("kind", "result", "cause"),
    [
        (TlsFailureKind.REFUSED, ResultType.ERROR, "tls-failed"),
        (TlsFailureKind.CERTIFICATE, ResultType.ERROR, "tls-certificate"),
        (TlsFailureKind.EXPIRED, ResultType.ERROR, "tls-expired"),
        (TlsFailureKind.NAME, ResultType.ERROR, "tls-name"),
        (TlsFailureKind.NOT_TLS, ResultType.INVALID, None),
        (TlsFailureKind.LOST, ResultType.LOST, None),
    ],
)
def test_what_a_failed_handshake_ends_with(
    stage: Stage, kind: TlsFailureKind, result: ResultType, cause: str | None
) -> None:
    ask(stage)
    handshake, task = shake(stage)
    handshake.fail(TlsError(kind, "why"))
    assert cell(task) == (DeliveryState.STARTTLS, result, Scope.HOST)
    error = error_of(task)
    assert (error.cause, error.reason, error.ordinal) == (cause, "why", 1)
    assert stage.transport.is_aborted


def test_every_kind_of_failure_is_mapped() -> None:
    from relayq.delivery.session import _TLS_ERRORS

    assert _TLS_ERRORS.keys() == set(TlsFailureKind)


def test_a_handshake_has_a_limit_of_its_own(stage: Stage) -> None:
    ask(stage)
    _, task = shake(stage)
    stage.pass_time(LIMIT - 1)
    assert not task.done()
    stage.pass_time(2)
    assert cell(task) == (DeliveryState.STARTTLS, ResultType.TIMEOUT, Scope.HOST)
    assert stage.transport.is_aborted


def test_the_time_of_the_attempt_ends_a_handshake_without_blaming_the_host(stage: Stage) -> None:
    ask(stage)
    _, task = shake(stage, stage.loop.time() + 5)
    stage.pass_time(6)
    assert cell(task) == (DeliveryState.STARTTLS, ResultType.TIMEOUT, Scope.SESSION)


def test_a_cancelled_message_leaves_nothing_behind(stage: Stage) -> None:
    ask(stage)
    _, task = shake(stage)
    task.cancel()
    stage.loop.settle()
    assert task.cancelled()


def test_octets_that_come_before_the_handshake_begins_end_the_session(stage: Stage) -> None:
    """They arrived in clear, in a segment of their own behind the 220."""
    ask(stage)
    stage.say(b"250 2.1.0 injected")
    handshake, task = shake(stage)
    assert cell(task) == (DeliveryState.STARTTLS, ResultType.INVALID, Scope.HOST)
    assert not handshake.is_begun
    assert stage.transport.is_aborted


def test_a_connection_that_is_lost_before_the_handshake_begins(stage: Stage) -> None:
    ask(stage)
    stage.session.connection_lost(None)
    handshake, task = shake(stage)
    assert cell(task) == (DeliveryState.STARTTLS, ResultType.LOST, Scope.HOST)
    assert not handshake.is_begun


def test_a_peer_that_speaks_first_under_tls_has_no_part_in_this_dialogue(stage: Stage) -> None:
    """A 250 before EHLO was sent could otherwise pass for the answer to it."""
    ask(stage)
    handshake, task = shake(stage)
    handshake.done.set_result(Secured(handshake.encrypted))
    stage.session.data_received(b"250 mx.test\r\n")
    stage.loop.settle()
    assert task.done()
    resumed = stage.run(stage.session.resume(NEVER))
    assert cell(resumed) == (DeliveryState.STARTTLS, ResultType.INVALID, Scope.HOST)
    assert b"EHLO" not in handshake.encrypted.written


def test_a_connection_that_is_lost_right_after_the_handshake(stage: Stage) -> None:
    ask(stage)
    handshake, task = shake(stage)
    handshake.done.set_result(Secured(handshake.encrypted))
    stage.session.connection_lost(None)
    stage.loop.settle()
    assert task.done()
    resumed = stage.run(stage.session.resume(NEVER))
    assert cell(resumed) == (DeliveryState.STARTTLS, ResultType.LOST, Scope.HOST)


def test_under_immediate_tls_the_greeting_may_be_there_first(stage: Stage) -> None:
    handshake, task = shake(stage)
    handshake.done.set_result(Secured(handshake.encrypted))
    stage.session.data_received(b"220 mx.test\r\n")
    stage.loop.settle()
    assert task.done()
    started = start(stage, TlsMode.IMMEDIATE)
    assert bytes(handshake.encrypted.written) == b"EHLO mta.test\r\n"
    stage.say(b"250 mx.test")
    assert isinstance(started.result(), Ready)
    stage.session.connection_lost(None)


def test_a_greeting_in_clear_where_tls_is_due_ends_the_session(stage: Stage) -> None:
    stage.session.data_received(b"220 mx.test\r\n")
    handshake, task = shake(stage)
    assert cell(task) == (DeliveryState.STARTTLS, ResultType.INVALID, Scope.HOST)
    assert error_of(task).received == b"220 mx.test\r\n"
    assert not handshake.is_begun


def test_the_clock_of_the_dialogue_stands_still_meanwhile(stage: Stage) -> None:
    """No reply is awaited: nothing but the limit of the handshake may end it."""
    ask(stage)
    handshake, task = shake(stage)
    stage.pass_time(LIMIT - 5)
    handshake.succeed()
    assert task.done()
    resumed = stage.run(stage.session.resume(NEVER))
    stage.pass_time(19)  # smtp-out-timeout-ehlo is 20
    assert not resumed.done()
    stage.say(b"250 mx.test")
    assert isinstance(resumed.result(), Ready)
    stage.session.connection_lost(None)
