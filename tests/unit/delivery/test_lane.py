"""Who gets a session, who opens one, and when nobody does (spec delivery.md 8.2 to 8.4, 14.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from relayq.adapters.memory import SessionClosed, SessionOpened
from relayq.delivery.lane import PROBLEM_WINDOW, HostDownError, LaneLimits
from relayq.model import ConnectionLost, DeliveryError, DeliveryState, Refused, Reply, Scope, TimedOut, Unusable
from relayq.ports import LocalShortageError
from tests.support.fake_sessions import FakeSession, Yard

LIMITS = LaneLimits(
    max_connections=3, max_starting=2, max_messages=0, max_idle=5.0, offline_time=300.0, backoff_time=60.0
)
BUSY = Reply(421, "4.3.2", (b"too many connections",))
NO = Reply(550, "5.1.1", (b"no",))
LATER = Reply(451, "4.3.2", (b"later",))


@pytest.fixture
def yard() -> Iterator[Yard]:
    made = Yard(LIMITS)
    yield made
    made.end()


def made(**limits: Any) -> Yard:
    return Yard(msgspec.structs.replace(LIMITS, **limits))


def lost(state: DeliveryState = DeliveryState.INTRO, scope: Scope = Scope.HOST) -> DeliveryError:
    return ConnectionLost(state, scope, "lost")


def refused(reply: Reply, state: DeliveryState, ordinal: int = 1) -> DeliveryError:
    scope = Scope.HOST if state is DeliveryState.INTRO else Scope.MESSAGE
    error = Refused(state, scope, "no", reply=reply)
    error.ordinal = ordinal
    return error


# --- sharing --------------------------------------------------------------------------------------------------------


def test_an_idle_session_is_used_again_the_one_used_last_first(yard: Yard) -> None:
    first, second = yard.acquire(), yard.acquire()
    one, two = yard.opens(), yard.opens()
    assert (first.result(), second.result()) == (one, two)
    yard.release(one)
    yard.release(two)
    had_idle = yard.lane.has_idle
    assert yard.acquire().result() is two
    assert yard.acquire().result() is one
    assert (had_idle, yard.lane.has_idle) == (True, False)
    assert (one.rests, two.rests) == (1, 1)


def test_messages_wait_in_the_order_they_came(yard: Yard) -> None:
    opening = [yard.acquire() for _ in range(2)]
    waiting = [yard.acquire() for _ in range(3)]
    assert yard.lane.load == 3
    session = yard.opens()
    third = yard.openings[-1]
    assert opening[0].result() is session
    for task in waiting[1:]:
        yard.release(session)
        assert task.result() is session
    assert not third.done()
    assert not waiting[0].done(), "it has the right to open one, and does"


def test_a_session_that_owes_a_reset_goes_to_the_next_message_or_comes_back_after_it() -> None:
    yard = made(max_connections=1)
    session = yard.ready()
    yard.acquire()
    waiting = yard.acquire()
    session.owes_reset = True
    yard.release(session)
    assert waiting.result() is session
    assert session.owes_reset, "sent along with the message"
    yard.release(session)
    assert session.is_resetting
    had_idle = yard.lane.has_idle
    session.answer_reset()
    assert (had_idle, yard.lane.has_idle) == (False, True)
    yard.end()


def test_no_more_than_the_limits_are_opened(yard: Yard) -> None:
    for _ in range(8):
        yard.acquire()
    assert len(yard.openings) == LIMITS.max_starting
    yard.opens()
    assert len(yard.openings) == 2
    yard.opens()
    assert len(yard.openings) == 1, "three is all there may be"
    assert yard.lane.open_count == 3


def test_a_fresh_session_is_a_new_one_even_beside_an_idle_one_and_before_those_that_wait(yard: Yard) -> None:
    idle = yard.ready()
    fresh = yard.acquire(fresh=True)
    assert not fresh.done()
    session = yard.opens()
    assert fresh.result() is session
    assert session is not idle


def test_the_deadline_of_whoever_opens_is_handed_on_and_its_ticket_is_marked(yard: Yard) -> None:
    yard.acquire(deadline=1234.0)
    assert yard.deadlines == [1234.0]
    assert yard.tickets[0].is_opening
    yard.opens()
    assert not yard.tickets[0].is_opening


def test_a_session_that_dies_idle_is_not_handed_out(yard: Yard) -> None:
    session = yard.ready()
    session.quit()
    task = yard.acquire()
    assert not task.done()
    session.close()
    assert yard.opens() is task.result()


def test_a_session_that_dies_on_its_way_to_a_message_is_replaced() -> None:
    yard = made(max_connections=1)
    holder = yard.acquire()
    session = yard.opens()
    assert holder.done()
    waiting = yard.acquire()
    session.owner.release(session, None)
    session.close()  # before the waiting message could resume
    yard.loop.settle()
    assert not waiting.done()
    assert yard.opens() is waiting.result()
    yard.end()


def test_a_session_that_carried_enough_is_closed() -> None:
    yard = made(max_messages=2)
    session = yard.ready()
    assert yard.acquire().result() is session
    yard.release(session)
    assert session.is_quitting
    yard.end()


def test_a_session_whose_certificate_fits_one_host_only_is_not_shared(yard: Yard) -> None:
    yard.acquire()
    session = yard.opens()
    session.is_exclusive = True
    yard.release(session)
    assert session.is_quitting


def test_sessions_are_reported_when_they_come_and_go(yard: Yard) -> None:
    session = yard.ready()
    session.close()
    assert yard.observer.all_of(SessionOpened) == [SessionOpened("* -> 192.0.2.1:25")]
    assert yard.observer.all_of(SessionClosed) == [SessionClosed("* -> 192.0.2.1:25", 1)]


def test_a_session_closed_before_it_was_handed_over_is_not_counted(yard: Yard) -> None:
    task = yard.acquire()
    session = FakeSession(yard.lane)
    yard.openings.pop(0).set_result(session)
    session.close()
    yard.loop.settle()
    assert task.result() is session, "its message finds out, and blames the host"
    assert yard.lane.open_count == 0
    assert yard.observer.events == []


# --- giving up ------------------------------------------------------------------------------------------------------


def test_a_message_that_gives_up_passes_on_what_it_was_just_given() -> None:
    yard = made(max_connections=1)
    yard.acquire()
    session = yard.opens()
    first, second = yard.acquire(), yard.acquire()
    session.owner.release(session, None)
    first.cancel()
    yard.loop.settle()
    assert second.result() is session
    yard.end()


def test_a_message_that_gives_up_passes_on_the_right_to_open() -> None:
    yard = made(max_connections=1)
    yard.acquire()
    session = yard.opens()
    first, second = yard.acquire(), yard.acquire()
    session.close()
    first.cancel()
    yard.loop.settle()
    assert yard.opens() is second.result()
    yard.end()


def test_whoever_opens_and_gives_up_lets_the_next_one_open(yard: Yard) -> None:
    tasks = [yard.acquire() for _ in range(3)]
    tasks[0].cancel()
    yard.loop.settle()
    assert [opening.cancelled() for opening in yard.openings] == [True, False, False]
    assert yard.lane.open_count == 2


# --- trouble --------------------------------------------------------------------------------------------------------


def test_a_host_that_cannot_be_reached_fails_all_that_wait_with_copies(yard: Yard) -> None:
    tasks = [yard.acquire() for _ in range(5)]
    error = lost()
    yard.fails(error)
    assert tasks[0].exception() is error
    for task in tasks[2:]:
        down = task.exception()
        assert isinstance(down, HostDownError)
        copy = down.failure
        assert (type(copy), copy.state, copy.is_final) == (ConnectionLost, DeliveryState.INTRO, False)
        assert (copy.egress_ip, copy.remote_ip, copy.ordinal) == (None, None, None)
    assert not tasks[1].done(), "it is still opening one of its own"
    assert isinstance(yard.acquire().exception(), HostDownError)
    assert isinstance(yard.acquire(fresh=True).exception(), HostDownError)


def test_a_copy_carries_what_the_host_said_but_never_its_finality(yard: Yard) -> None:
    yard.acquire()
    yard.fails(refused(NO, DeliveryState.INTRO))
    down = yard.acquire().exception()
    assert isinstance(down, HostDownError)
    assert (down.failure.reply, down.failure.is_final) == (NO, False)


def test_garbage_is_copied_too(yard: Yard) -> None:
    yard.acquire()
    yard.fails(Unusable(DeliveryState.EHLO, Scope.HOST, "?", received=b"HTTP/1.1"))
    down = yard.acquire().exception()
    assert isinstance(down, HostDownError)
    assert down.failure.received == b"HTTP/1.1"


def test_after_the_mark_one_probe_and_then_more(yard: Yard) -> None:
    yard.acquire()
    yard.fails(lost())
    yard.pass_time(LIMITS.offline_time - 1)
    assert isinstance(yard.acquire().exception(), HostDownError)
    yard.pass_time(2)
    for _ in range(3):
        yard.acquire()
    assert len(yard.openings) == 1
    yard.opens()
    assert len(yard.openings) == 2


def test_the_mark_is_remembered_for_its_probe(yard: Yard) -> None:
    yard.acquire()
    yard.fails(lost())
    yard.pass_time(LIMITS.offline_time + 10)
    yard.pool.sweep()
    assert yard.lane_to("192.0.2.1") is yard.lane
    yard.pass_time(10 * LIMITS.offline_time)
    yard.pool.sweep()
    assert yard.lane_to("192.0.2.1") is not yard.lane


def test_a_failure_beside_a_session_that_works_only_slows_down(yard: Yard) -> None:
    yard.ready()
    yard.acquire()
    failing = yard.acquire()
    waiting = yard.acquire()
    yard.fails(refused(BUSY, DeliveryState.INTRO))
    assert isinstance(failing.exception(), Refused)
    assert not waiting.done()
    yard.acquire()
    assert len(yard.openings) == 1, "the one that was under way already"
    yard.pass_time(LIMITS.backoff_time + 1)
    assert len(yard.openings) == 2


def test_the_pause_ends_with_the_last_connection_it_was_for(yard: Yard) -> None:
    session = yard.ready()
    yard.acquire()
    yard.acquire()
    yard.fails(refused(BUSY, DeliveryState.INTRO))
    session.close()
    for _ in range(3):
        yard.acquire()
    assert len(yard.openings) == 1, "one probe, without waiting for the end of the pause"
    yard.opens()
    assert len(yard.openings) == 2


def test_a_refusal_beside_others_that_are_opening_waits_for_their_verdict(yard: Yard) -> None:
    first, second, waiting = yard.acquire(), yard.acquire(), yard.acquire()
    yard.fails(refused(BUSY, DeliveryState.INTRO))
    assert first.done()
    assert not waiting.done()
    assert len(yard.openings) == 1, "nobody else tries meanwhile"
    session = yard.opens()
    assert second.result() is session
    yard.release(session)
    assert waiting.result() is session


def test_a_refusal_and_no_other_verdict_marks_the_host_down(yard: Yard) -> None:
    yard.acquire()
    yard.acquire()
    waiting = yard.acquire()
    yard.fails(refused(BUSY, DeliveryState.INTRO))
    yard.fails(refused(BUSY, DeliveryState.INTRO))
    assert isinstance(waiting.exception(), HostDownError)


def test_a_refusal_and_a_message_that_gives_up_marks_the_host_down(yard: Yard) -> None:
    yard.acquire()
    second, waiting = yard.acquire(), yard.acquire()
    yard.fails(refused(BUSY, DeliveryState.INTRO))
    second.cancel()
    yard.loop.settle()
    assert isinstance(waiting.exception(), HostDownError)


def test_success_lifts_a_mark(yard: Yard) -> None:
    yard.acquire()
    second = yard.acquire()
    yard.fails(lost())
    assert isinstance(yard.acquire().exception(), HostDownError)
    session = yard.opens()
    assert second.result() is session
    yard.release(session)
    assert yard.acquire().result() is session


@pytest.mark.parametrize(
    "error",
    [
        Refused(DeliveryState.BIND, Scope.SESSION, "not here"),
        TimedOut(DeliveryState.EHLO, Scope.SESSION, "the attempt took too long"),
        RuntimeError("a bug"),
    ],
)
def test_what_is_not_the_hosts_fault_marks_nobody_down(yard: Yard, error: Exception) -> None:
    task = yard.acquire()
    yard.fails(error)
    assert task.exception() is error
    assert not yard.acquire().done()


def test_a_shortage_here_is_waited_out_by_the_same_message(yard: Yard) -> None:
    first, second = yard.acquire(), yard.acquire()
    third = yard.acquire()
    yard.fails(LocalShortageError("ports"))
    assert not first.done()
    assert len(yard.openings) == 1
    yard.pass_time(2.9)
    assert len(yard.openings) == 1
    yard.pass_time(0.2)
    assert len(yard.openings) == 2
    yard.opens()
    yard.opens()
    assert second.done()
    assert first.done(), "it kept its place before the third"
    assert not third.done()


@pytest.mark.parametrize(
    ("reply", "state", "ordinal", "slows"),
    [
        (BUSY, DeliveryState.MAILFROM, 1, True),
        (BUSY, DeliveryState.RCPTTO, 1, True),
        (BUSY, DeliveryState.RCPTTO, 2, False),
        (BUSY, DeliveryState.DATA, 1, False),
        (BUSY, DeliveryState.MESSAGE, 1, False),
        (LATER, DeliveryState.MAILFROM, 1, False),
        (NO, DeliveryState.RCPTTO, 1, False),
    ],
)
def test_421_to_the_first_message_slows_down(
    yard: Yard, reply: Reply, state: DeliveryState, ordinal: int, slows: bool
) -> None:
    yard.acquire()
    session = yard.opens()
    session.abort()
    yard.release(session, refused(reply, state, ordinal))
    session.close()
    yard.acquire()
    assert bool(yard.openings) is not slows
    yard.pass_time(LIMITS.backoff_time + 1)
    assert yard.openings


def fail_late(yard: Yard, *, has_worked: bool = False) -> Any:
    task = yard.acquire()
    if not yard.openings:
        return task.exception()
    session = yard.opens()
    session.messages += 1
    session.is_working = has_worked
    session.abort()
    session.owner.release(session, lost(DeliveryState.RCPTTO))
    session.close()
    yard.loop.settle()
    return None


def test_three_losses_in_a_row_mark_down(yard: Yard) -> None:
    assert [fail_late(yard) for _ in range(3)] == [None] * 3
    down = fail_late(yard)
    assert isinstance(down, HostDownError)
    assert down.failure.state is DeliveryState.RCPTTO


def test_losses_that_lie_apart_do_not(yard: Yard) -> None:
    for _ in range(6):
        assert fail_late(yard) is None
        yard.pass_time(PROBLEM_WINDOW / 2 + 1)


def test_losses_with_successes_between_them_do_not(yard: Yard) -> None:
    for _ in range(4):
        assert fail_late(yard) is None
        yard.ready().close()


def test_three_losses_beside_a_session_that_works_only_slow_down(yard: Yard) -> None:
    working = yard.ready()
    assert yard.acquire().result() is working
    for _ in range(3):
        assert fail_late(yard) is None
    assert yard.lane.failure_when_down() is None
    waiting = yard.acquire()
    assert not yard.openings
    yard.release(working)
    assert waiting.result() is working


@pytest.mark.parametrize(
    "error",
    [
        Refused(DeliveryState.RCPTTO, Scope.HOST, "needs SMTPUTF8", cause="smtputf8-missing"),
        TimedOut(DeliveryState.AMQP, Scope.MESSAGE, "deadline passed"),
        TimedOut(DeliveryState.STORAGE, Scope.SESSION, "slow store"),
    ],
)
def test_what_says_nothing_about_the_host_is_not_counted(yard: Yard, error: DeliveryError) -> None:
    for _ in range(5):
        task = yard.acquire()
        session = yard.opens() if yard.openings else task.result()
        session.owner.release(session, error)
    assert yard.lane.failure_when_down() is None


def test_one_old_problem_does_not_keep_a_lane_in_memory(yard: Yard) -> None:
    fail_late(yard)
    yard.pass_time(PROBLEM_WINDOW + 1)
    yard.pool.sweep()
    assert yard.lane_to("192.0.2.1") is not yard.lane


# --- the end --------------------------------------------------------------------------------------------------------


def test_closing_the_pool_ends_what_is_idle_now_and_what_is_used_later(yard: Yard) -> None:
    idle = yard.ready()
    busy_task = yard.acquire(fresh=True)
    busy = yard.opens()
    assert busy_task.done()
    closing = yard.loop.create_task(yard.pool.close(5.0))
    yard.loop.settle()
    first = [session.is_quitting for session in (idle, busy)]
    yard.release(busy)
    assert (first, busy.is_quitting) == ([True, False], True)
    idle.close()
    busy.close()
    yard.loop.settle()
    assert closing.done()


def test_closing_the_pool_does_not_wait_for_ever(yard: Yard) -> None:
    session = yard.ready()
    closing = yard.loop.create_task(yard.pool.close(5.0))
    yard.loop.settle()
    yard.pass_time(4)
    waits = not closing.done()
    yard.pass_time(2)
    assert session.is_quitting
    yard.pass_time(2)
    assert (waits, closing.done()) == (True, True)


def test_ten_thousand_lanes_are_forgotten(yard: Yard) -> None:
    for number in range(10_000):
        yard.lane_to(f"10.0.{number // 256}.{number % 256}")
    assert len(yard.pool._lanes) == 10_001
    yard.pool.sweep()
    assert len(yard.pool._lanes) == 0
