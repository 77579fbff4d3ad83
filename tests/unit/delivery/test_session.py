"""A session over a transport that is none: octets, clocks and who is told what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from relayq.delivery.session import Session, SmtpTimeouts
from relayq.delivery.waiting import NotNowError
from relayq.model import DeliveryError, DeliveryState, DsnOptions, EmailAddress, Reply, ResultType, Scope, parse_address
from relayq.smtp import Event, LocalProtocolError, Ready, SmtpClient, TlsMode, Transaction
from tests.support.fake_sessions import VirtualLoop

T = TypeVar("T")
TIMEOUTS = SmtpTimeouts(
    connect=1, intro=10, ehlo=20, starttls=30, auth=40, mailfrom=50, rcptto=60, data=70, block=80, message=90, quit=5
)
NEVER = 1e9
CONTENT = b"Subject: x\r\n\r\nHello.\r\n"
LARGE = b"Subject: x\r\n\r\n" + b"x" * 200_000 + b"\r\n"


class FakeTransport(asyncio.Transport):
    """Keeps what is written; ``unsent`` octets are still in its buffer."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, local: Any = ("127.0.0.1", 1), remote: Any = ("127.0.0.9", 25)
    ) -> None:
        super().__init__({"sockname": local, "peername": remote})
        self.written = bytearray()
        self.unsent = 0
        self.high_water: int | None = None
        self.is_aborted = False
        self.protocol: Session | None = None
        self._loop = loop

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_aborted, "written to a closed connection"
        self.written += data
        if self.high_water is not None:
            self.unsent += len(data)
            if self.unsent > self.high_water:
                assert self.protocol is not None
                self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            assert self.protocol is not None
            self._loop.call_soon(self.protocol.connection_lost, None)


class Owner:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.ready = 0
        self.closed = 0

    def session_ready(self, session: Session) -> None:
        self.ready += 1

    def session_closed(self, session: Session) -> None:
        self.closed += 1


class Stage:
    """A session with everything around it."""

    def __init__(self, **transport: Any) -> None:
        self.loop = VirtualLoop()
        self.owner = Owner()
        self.session = Session(self.owner, TIMEOUTS.by_state(), TIMEOUTS, self.loop)
        self.transport = FakeTransport(self.loop, **transport)
        self.transport.protocol = self.session
        self.session.connection_made(self.transport)
        self.tasks: list[asyncio.Task[Any]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self.loop.create_task(work)
        self.tasks.append(task)
        self.loop.settle()
        return task

    def start(self, deadline: float = NEVER) -> asyncio.Task[Event]:
        client = SmtpClient(ehlo_name="mta.test", tls=TlsMode.NEVER, defers_reset=True)
        return self.run(self.session.start(client, deadline))

    def say(self, *replies: bytes) -> None:
        for reply in replies:
            self.session.data_received(reply + b"\r\n")
            self.loop.settle()

    def open(self, *extensions: bytes) -> None:
        task = self.start()
        self.say(
            b"220 mx.test", b"250-mx.test\r\n" + b"".join(b"250-%b\r\n" % name for name in extensions) + b"250 HELP"
        )
        assert isinstance(task.result(), Ready)
        self.transport.written.clear()

    def send(self, content: bytes = CONTENT, deadline: float = NEVER, **more: Any) -> asyncio.Task[Reply]:
        self.session.messages += 1
        transaction = Transaction(sender=address("b@shop.test"), recipient=address("a@x.test"), content=content, **more)
        return self.run(self.session.transact(transaction, deadline))

    def send_noting(self, note: Callable[[], asyncio.Future[object] | None]) -> asyncio.Task[Reply]:
        self.session.messages += 1
        transaction = Transaction(sender=address("b@shop.test"), recipient=address("a@x.test"), content=CONTENT)
        return self.run(self.session.transact(transaction, NEVER, before_content=note))

    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.loop.settle()

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.session.abort()
        self.loop.settle()
        assert self.owner.closed == 1, "told exactly once"
        self.loop.close()


def address(text: str) -> EmailAddress:
    return parse_address(text)


def error_of(task: asyncio.Task[Any]) -> DeliveryError:
    assert task.done()
    error = task.exception()
    assert isinstance(error, DeliveryError), error
    return error


def cell(task: asyncio.Task[Any]) -> tuple[DeliveryState, ResultType, Scope]:
    error = error_of(task)
    return error.state, error.result, error.scope


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


# --- opening --------------------------------------------------------------------------------------------------------


def test_a_greeting_that_came_before_anybody_asked_is_not_lost(stage: Stage) -> None:
    stage.session.data_received(b"220 mx.te")
    stage.session.data_received(b"st\r\n")
    task = stage.start()
    assert bytes(stage.transport.written) == b"EHLO mta.test\r\n"
    stage.say(b"250 mx.test")
    assert isinstance(task.result(), Ready)
    assert stage.session.is_ready


def test_a_flood_before_anybody_asked_is_kept_in_bounds(stage: Stage) -> None:
    for _ in range(1000):
        stage.session.data_received(b"x" * 60_000)
    assert sum(map(len, stage.session._early)) < 200_000
    assert cell(stage.start())[:2] == (DeliveryState.INTRO, ResultType.INVALID)


@pytest.mark.parametrize("by", ["loss", "eof"])
def test_a_connection_closed_before_anybody_asked_is_lost_not_awaited(stage: Stage, by: str) -> None:
    if by == "loss":
        stage.session.connection_lost(None)
    else:
        stage.session.eof_received()
    assert cell(stage.start()) == (DeliveryState.INTRO, ResultType.LOST, Scope.HOST)


def test_what_was_said_before_closing_counts(stage: Stage) -> None:
    stage.session.data_received(b"554 5.7.1 no\r\n")
    stage.session.eof_received()
    task = stage.start()
    assert cell(task) == (DeliveryState.INTRO, ResultType.ERROR, Scope.HOST)
    reply = error_of(task).reply
    assert reply is not None
    assert reply.code == 554


def test_the_addresses_are_those_of_the_socket() -> None:
    stage = Stage(local=("::ffff:127.0.0.1", 1, 0, 0), remote=("2001:db8::1", 25, 0, 0))
    assert (stage.session.egress_ip, stage.session.remote_ip) == ("127.0.0.1", "2001:db8::1")
    stage.close()


def test_addresses_that_are_gone_are_left_out_of_results() -> None:
    stage = Stage(local=None, remote=None)
    stage.session.connection_lost(None)
    error = error_of(stage.start())
    assert (error.egress_ip, error.remote_ip, error.ordinal) == (None, None, 1)
    stage.close()


@pytest.mark.parametrize(("said", "state", "limit"), [([], "intro", 10), ([b"220 mx"], "ehlo", 20)])
def test_silence_while_opening(stage: Stage, said: list[bytes], state: str, limit: float) -> None:
    task = stage.start()
    stage.say(*said)
    stage.pass_time(limit - 1)
    assert not task.done()
    stage.pass_time(2)
    assert cell(task) == (state, ResultType.TIMEOUT, Scope.HOST)
    assert stage.transport.is_aborted


def test_the_time_of_the_attempt_bounds_the_opening_and_is_not_the_hosts_fault(stage: Stage) -> None:
    task = stage.start(deadline=stage.loop.time() + 5)
    stage.pass_time(6)
    assert cell(task) == (DeliveryState.INTRO, ResultType.TIMEOUT, Scope.SESSION)


def test_octets_that_complete_nothing_move_no_limit(stage: Stage) -> None:
    task = stage.start()
    for octet in b"220-mx.test ESMTP":
        stage.session.data_received(bytes((octet,)))
        stage.pass_time(1)
    assert cell(task)[1] is ResultType.TIMEOUT


# --- a transaction --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state", "limit", "scope"),
    [
        ([], "mailfrom", 50, Scope.HOST),
        ([b"250 ok"], "rcptto", 60, Scope.HOST),
        ([b"250 ok", b"250 ok"], "data", 70, Scope.SESSION),
        ([b"250 ok", b"250 ok", b"354 go"], "message", 90, Scope.SESSION),
    ],
)
@pytest.mark.parametrize("extensions", [(), (b"PIPELINING",)])
def test_silence_in_a_transaction(
    stage: Stage, extensions: tuple[bytes, ...], said: list[bytes], state: str, limit: float, scope: Scope
) -> None:
    stage.open(*extensions)
    task = stage.send()
    stage.pass_time(3)
    stage.say(*said)
    stage.pass_time(limit - 3.5)
    assert not task.done()
    stage.pass_time(4)
    assert cell(task) == (state, ResultType.TIMEOUT, scope)
    error = error_of(task)
    assert (error.egress_ip, error.remote_ip, error.ordinal) == ("127.0.0.1", "127.0.0.9", 1)


def test_acceptance(stage: Stage) -> None:
    stage.open()
    task = stage.send()
    stage.say(b"250 ok", b"250 ok", b"354 go", b"250 2.0.0 queued")
    assert task.result().description == "queued"
    assert stage.session.is_ready
    assert stage.session.is_working
    assert stage.transport.written.endswith(b"DATA\r\n" + CONTENT + b".\r\n")


def test_a_refusal_keeps_the_session_and_the_owner_hears_when_it_is_ready_again(stage: Stage) -> None:
    stage.open()
    task = stage.send()
    stage.say(b"250 ok", b"550 no")
    assert cell(task) == (DeliveryState.RCPTTO, ResultType.ERROR, Scope.MESSAGE)
    assert stage.owner.ready == 0
    assert stage.transport.written.endswith(b"RSET\r\n")
    stage.say(b"250 flushed")
    assert stage.session.is_ready
    assert stage.owner.ready == 1


def refuse_pipelined(stage: Stage) -> None:
    stage.open(b"PIPELINING")
    task = stage.send()
    stage.say(b"250 ok", b"450 later", b"503 no recipient")
    assert cell(task) == (DeliveryState.RCPTTO, ResultType.ERROR, Scope.MESSAGE)
    stage.transport.written.clear()


def test_with_pipelining_the_reset_leaves_with_the_next_message(stage: Stage) -> None:
    refuse_pipelined(stage)
    assert stage.session.is_ready
    assert stage.owner.ready == 1
    task = stage.send()
    assert stage.transport.written.startswith(b"RSET\r\nMAIL FROM:<b@shop.test>")
    stage.say(b"250 flushed", b"250 ok", b"250 ok", b"354 go", b"250 queued")
    assert task.result().description == "queued"


@pytest.mark.parametrize("answer", [b"421 too many errors", b"502 no RSET here", b"hello", None])
def test_a_session_that_ends_over_the_reset_has_not_begun_the_next_message(stage: Stage, answer: bytes | None) -> None:
    refuse_pipelined(stage)
    task = stage.send()
    if answer is None:
        stage.session.eof_received()
        stage.loop.settle()
    else:
        stage.say(answer)
    assert cell(task) == (DeliveryState.MAILFROM, ResultType.LOST, Scope.HOST)
    assert not stage.session.has_answered, "the pipeline takes a fresh session"


def test_without_a_next_message_the_reset_leaves_by_itself(stage: Stage) -> None:
    refuse_pipelined(stage)
    assert stage.session.reset()
    assert stage.transport.written == b"RSET\r\n"
    was_ready = stage.session.is_ready
    stage.say(b"250 flushed")
    assert (was_ready, stage.session.is_ready) == (False, True)
    assert stage.owner.ready == 2
    assert not stage.session.reset()


def test_a_reset_that_is_never_answered_ends_the_session_by_the_limit_of_ehlo(stage: Stage) -> None:
    stage.open()
    stage.send()
    stage.say(b"250 ok", b"550 no")
    stage.pass_time(19)
    assert not stage.transport.is_aborted
    stage.pass_time(2)
    assert stage.transport.is_aborted


def test_a_session_that_died_before_its_message_came_is_lost_before_mail_from(stage: Stage) -> None:
    stage.open()
    stage.say(b"421 idle too long")
    task = stage.send()
    assert cell(task) == (DeliveryState.MAILFROM, ResultType.LOST, Scope.HOST)
    assert not stage.session.has_answered


def test_what_the_message_before_was_answered_does_not_count_for_the_next(stage: Stage) -> None:
    stage.open()
    stage.send()
    stage.say(b"250 ok", b"250 ok", b"354 go", b"250 queued")
    assert stage.session.has_answered
    stage.session.eof_received()
    stage.loop.settle()
    cell(stage.send())
    assert not stage.session.has_answered


def test_a_command_that_cannot_be_written_leaves_the_session_as_it_was(stage: Stage) -> None:
    stage.open(b"DSN")
    task = stage.send(dsn=DsnOptions(ret="FULL\r\nDATA"))
    assert isinstance(task.exception(), LocalProtocolError)
    assert not stage.transport.written
    assert stage.session.is_ready
    task2 = stage.send()
    stage.say(b"250 ok", b"250 ok", b"354 go", b"250 queued")
    assert task2.result().code == 250


def test_a_cancelled_transaction_leaves_nobody_waiting(stage: Stage) -> None:
    stage.open()
    task = stage.send()
    task.cancel()
    stage.loop.settle()
    assert task.cancelled()
    assert not stage.session.is_ready
    stage.say(b"250 ok")
    assert stage.owner.closed == 0
    stage.session.abort()
    stage.loop.settle()
    assert stage.owner.closed == 1


def test_content_is_not_begun_when_its_reply_might_come_too_late(stage: Stage) -> None:
    stage.open()
    task = stage.send(deadline=stage.loop.time() + 100)
    stage.say(b"250 ok", b"250 ok")
    stage.pass_time(20)
    stage.say(b"354 go")
    assert isinstance(task.exception(), NotNowError)
    assert stage.transport.is_aborted
    assert b"Hello." not in stage.transport.written


def test_the_reply_to_content_is_waited_for_whatever_the_time(stage: Stage) -> None:
    stage.open()
    task = stage.send(deadline=stage.loop.time() + 100)
    stage.say(b"250 ok", b"250 ok", b"354 go")
    stage.pass_time(89)
    assert not task.done()
    stage.say(b"250 queued")
    assert task.result().code == 250


# --- content that does not fit into the buffer ----------------------------------------------------------------------


def stuck(stage: Stage) -> asyncio.Task[Reply]:
    stage.open()
    task = stage.send(LARGE)
    stage.say(b"250 ok", b"250 ok", b"354 go")
    stage.transport.unsent = 100_000
    stage.session.pause_writing()
    return task


def test_a_write_that_makes_no_progress_is_given_up(stage: Stage) -> None:
    task = stuck(stage)
    stage.pass_time(79)
    assert not task.done()
    stage.pass_time(2)
    assert cell(task) == (DeliveryState.MESSAGE, ResultType.TIMEOUT, Scope.SESSION)


def test_a_write_that_makes_progress_is_not(stage: Stage) -> None:
    task = stuck(stage)
    for _ in range(10):
        stage.transport.unsent -= 1000
        stage.pass_time(81)
    assert not task.done()
    stage.transport.unsent = 0
    stage.session.resume_writing()
    stage.pass_time(89)
    assert not task.done()
    stage.say(b"250 queued")
    assert task.result().code == 250


def test_a_write_is_given_up_with_the_attempt_even_if_it_moves(stage: Stage) -> None:
    stage.open()
    task = stage.send(LARGE, deadline=stage.loop.time() + 200)
    stage.say(b"250 ok", b"250 ok", b"354 go")
    stage.transport.unsent = 100_000
    stage.session.pause_writing()
    for _ in range(3):
        stage.transport.unsent -= 1000
        stage.pass_time(79)
    assert cell(task) == (DeliveryState.MESSAGE, ResultType.TIMEOUT, Scope.SESSION)


def test_agreement_to_content_that_is_not_out_is_none(stage: Stage) -> None:
    task = stuck(stage)
    stage.say(b"250 queued")
    assert cell(task) == (DeliveryState.MESSAGE, ResultType.INVALID, Scope.SESSION)
    assert stage.transport.is_aborted


def sending_much(stage: Stage) -> tuple[asyncio.Task[Reply], bytes]:
    """The transport has as much of a large content as it wants."""
    stage.open()
    content = b"".join(b"line %07d\r\n" % number for number in range(200_000))
    stage.transport.high_water = 300_000
    task = stage.send(content)
    stage.say(b"250 ok", b"250 ok")
    stage.transport.written.clear()
    stage.say(b"354 go")
    return task, content + b".\r\n"


def test_a_large_content_is_given_to_the_transport_as_it_goes_out(stage: Stage) -> None:
    task, expected = sending_much(stage)
    assert len(stage.transport.written) <= 600_000
    turns = 0
    while stage.transport.unsent:
        stage.transport.unsent = 0
        stage.session.resume_writing()
        turns += 1
    assert turns > 3
    assert bytes(stage.transport.written) == expected
    stage.say(b"250 queued")
    assert task.result().code == 250


def test_what_the_transport_did_not_get_yet_is_not_out(stage: Stage) -> None:
    task, _ = sending_much(stage)
    stage.transport.unsent = 0
    stage.session._is_write_paused = False
    stage.say(b"250 queued")
    assert cell(task) == (DeliveryState.MESSAGE, ResultType.INVALID, Scope.SESSION)
    stage.session.resume_writing()  # nothing is written to a connection that is given up


def test_progress_is_what_goes_out_of_all_there_is(stage: Stage) -> None:
    task, _ = sending_much(stage)
    for _ in range(3):
        stage.transport.unsent -= 1000
        stage.pass_time(79)
    assert not task.done()
    for _ in range(2):
        stage.pass_time(81)
    assert cell(task) == (DeliveryState.MESSAGE, ResultType.TIMEOUT, Scope.SESSION)


def test_a_refusal_of_content_that_is_not_out_counts(stage: Stage) -> None:
    task = stuck(stage)
    stage.say(b"552 too big")
    assert cell(task) == (DeliveryState.MESSAGE, ResultType.ERROR, Scope.MESSAGE)


# --- between messages -----------------------------------------------------------------------------------------------


def test_an_idle_session_says_goodbye_in_time(stage: Stage) -> None:
    stage.open()
    stage.session.rest(3)
    stage.pass_time(2.9)
    assert not stage.transport.written
    stage.pass_time(0.2)
    assert bytes(stage.transport.written) == b"QUIT\r\n"
    assert not stage.session.is_ready
    stage.say(b"221 bye")
    assert stage.transport.is_aborted


def test_a_goodbye_that_is_not_answered(stage: Stage) -> None:
    stage.open()
    stage.session.quit()
    for _ in range(4):
        stage.session.data_received(b"2")
        stage.pass_time(1)
    assert not stage.transport.is_aborted
    stage.pass_time(2)
    assert stage.transport.is_aborted


def test_a_message_that_comes_while_idle_stops_the_clock_of_idleness(stage: Stage) -> None:
    stage.open()
    stage.session.rest(3)
    task = stage.send()
    stage.pass_time(10)
    assert not task.done()
    assert b"QUIT" not in stage.transport.written


@pytest.mark.parametrize("words", [b"421 bye\r\n", b"250 ok\r\n", b"x", b"\0"])
def test_words_while_idle_end_the_session_quietly(stage: Stage, words: bytes) -> None:
    stage.open()
    stage.session.rest(3)
    stage.session.data_received(words)
    assert stage.transport.is_aborted
    assert not stage.session.is_ready
    assert stage.owner.ready == 0


def test_ending_is_idempotent(stage: Stage) -> None:
    stage.open()
    stage.session.quit()
    stage.session.quit()
    stage.session.abort()
    stage.session.abort()
    stage.session.quit()
    stage.loop.settle()
    stage.session.connection_lost(None)
    assert bytes(stage.transport.written) == b"QUIT\r\n"
    assert stage.owner.closed == 1
    assert stage.session.is_closed


def test_no_timer_outlives_the_connection(stage: Stage) -> None:
    stage.open()
    stage.session.rest(3)
    stage.session.abort()
    stage.loop.settle()
    assert stage.session._timer is None


def test_one_timer_serves_a_whole_dialogue(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arming one per command costs more than the commands."""
    stage.open()
    armed = []
    call_at = stage.loop.call_at

    def count(when: float, *rest: Any, **more: Any) -> asyncio.Handle:
        armed.append(when)
        return call_at(when, *rest, **more)

    monkeypatch.setattr(stage.loop, "call_at", count)
    for _ in range(10):
        task = stage.send()
        stage.say(b"250 ok", b"250 ok", b"354 go", b"250 queued")
        assert task.done()
    assert len(armed) <= 1


def test_a_limit_that_has_come_already(stage: Stage) -> None:
    """For such an instant uvloop returns a handle that does not know when it fires."""
    client = SmtpClient(ehlo_name="mta.test", tls=TlsMode.NEVER)
    starting = stage.loop.create_task(stage.session.start(client, stage.loop.time()))
    stage.loop.call_soon(stage.session.data_received, b"220 mx.test\r\n")
    stage.loop.settle()
    assert cell(starting) == (DeliveryState.EHLO, ResultType.TIMEOUT, Scope.SESSION)


# --- the note in front of the content -------------------------------------------------------------------------------


class Note:
    """Called right before content leaves."""

    def __init__(self, stage: Stage, *, takes_time: bool = False, error: Exception | None = None) -> None:
        self.calls = 0
        self.future: asyncio.Future[object] | None = stage.loop.create_future() if takes_time else None
        self.written = b""
        self._stage = stage
        self._error = error

    def __call__(self) -> asyncio.Future[object] | None:
        self.calls += 1
        self.written = bytes(self._stage.transport.written)
        if self._error is not None:
            raise self._error
        return self.future

    def make(self) -> None:
        """It is on disk."""
        assert self.future is not None
        self.future.set_result(None)
        self._stage.loop.settle()


def test_the_note_is_made_after_the_go_ahead_and_before_the_content(stage: Stage) -> None:
    stage.open(b"PIPELINING")
    note = Note(stage)
    task = stage.send_noting(note)
    stage.say(b"250 ok", b"250 ok")
    assert note.calls == 0
    stage.say(b"354 go")
    assert note.calls == 1
    assert b"Hello" not in note.written
    assert stage.transport.written.endswith(b"Hello.\r\n.\r\n")
    stage.say(b"250 taken")
    assert task.result().code == 250


def test_a_mail_that_is_refused_needs_no_note(stage: Stage) -> None:
    """The dot that ends a DATA phase nobody wanted is no content either."""
    stage.open(b"PIPELINING")
    note = Note(stage)
    task = stage.send_noting(note)
    stage.say(b"250 ok", b"550 no", b"354 go", b"554 nothing there")
    assert cell(task)[:2] == (DeliveryState.RCPTTO, ResultType.ERROR)
    assert note.calls == 0


def test_content_waits_for_a_note_that_takes_time(stage: Stage) -> None:
    stage.open()
    note = Note(stage, takes_time=True)
    task = stage.send_noting(note)
    stage.say(b"250 ok", b"250 ok", b"354 go")
    assert b"Hello" not in stage.transport.written
    note.make()
    assert stage.transport.written.endswith(b"Hello.\r\n.\r\n")
    stage.say(b"250 taken")
    assert task.result().code == 250


def test_what_is_said_before_the_content_left_agrees_to_nothing(stage: Stage) -> None:
    stage.open()
    note = Note(stage, takes_time=True)
    task = stage.send_noting(note)
    stage.say(b"250 ok", b"250 ok", b"354 go", b"250 taken")
    assert cell(task)[:2] == (DeliveryState.MESSAGE, ResultType.INVALID)
    note.make()
    assert b"Hello" not in stage.transport.written
    assert stage.session.is_closed


def test_a_peer_that_leaves_before_the_content_left(stage: Stage) -> None:
    stage.open()
    note = Note(stage, takes_time=True)
    task = stage.send_noting(note)
    stage.say(b"250 ok", b"250 ok", b"354 go")
    stage.session.eof_received()
    stage.loop.settle()
    assert cell(task)[:2] == (DeliveryState.MESSAGE, ResultType.LOST)
    note.make()
    assert b"Hello" not in stage.transport.written


def test_a_note_that_never_comes_is_timed(stage: Stage) -> None:
    stage.open()
    note = Note(stage, takes_time=True)
    task = stage.send_noting(note)
    stage.say(b"250 ok", b"250 ok", b"354 go")
    stage.pass_time(91)
    assert cell(task)[:2] == (DeliveryState.MESSAGE, ResultType.TIMEOUT)
    note.make()
    assert b"Hello" not in stage.transport.written


@pytest.mark.parametrize("takes_time", [False, True])
def test_no_note_no_content(stage: Stage, takes_time: bool) -> None:
    stage.open()
    error: Exception = OSError("disk") if takes_time else NotNowError(60.0, "journal is down")
    note = Note(stage, takes_time=takes_time, error=None if takes_time else error)
    task = stage.send_noting(note)
    stage.say(b"250 ok", b"250 ok", b"354 go")
    if note.future is not None:
        note.future.set_exception(error)
        stage.loop.settle()
    assert isinstance(task.exception(), NotNowError)
    assert b"Hello" not in stage.transport.written
    stage.loop.settle()
    assert stage.session.is_closed


def test_a_message_that_was_called_off_sends_nothing_when_its_note_is_there(stage: Stage) -> None:
    stage.open()
    note = Note(stage, takes_time=True)
    task = stage.send_noting(note)
    stage.say(b"250 ok", b"250 ok", b"354 go")
    task.cancel()
    stage.loop.settle()
    note.make()
    assert b"Hello" not in stage.transport.written
