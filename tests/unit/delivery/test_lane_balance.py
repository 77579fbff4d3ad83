"""Whatever happens in whatever order: every connection is counted once, every session has one user, nobody is stuck."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from relayq.adapters.memory import RecordingObserver, SessionClosed, SessionOpened
from relayq.delivery.admission import Ticket
from relayq.delivery.lane import HostDownError, Lane, LaneLimits, Route
from relayq.delivery.session_pool import SessionPool
from relayq.model import ConnectionLost, DeliveryError, DeliveryState, Refused, Reply, Scope
from relayq.ports import Lender, LocalShortageError
from relayq.smtp import Credentials
from tests.support.engine import check_lane
from tests.support.fake_sessions import FakeSession, VirtualLoop

LANES = 4
LOGIN = Credentials("u", "p")
BUDGET = 4
LIMITS = LaneLimits(
    max_connections=3, max_starting=2, max_messages=4, max_idle=5.0, offline_time=30.0, backoff_time=10.0
)
NO_END = 1e9
SEEDS = int(os.environ.get("RELAYQ_TEST_SEEDS", "25"))
STEPS = 300
BUSY = Reply(421, "4.3.2", (b"too many connections",))
NO = Reply(550, "5.1.1", (b"no",))


def host_failure() -> DeliveryError:
    return ConnectionLost(DeliveryState.INTRO, Scope.HOST, "lost")


def busy_host() -> DeliveryError:
    return Refused(DeliveryState.INTRO, Scope.HOST, "busy", reply=BUSY)


OPENING_FAILURES: dict[str, Any] = {
    "lost": host_failure,
    "busy": busy_host,
    "unbound": lambda: Refused(DeliveryState.BIND, Scope.SESSION, "not here"),
    "out of time": lambda: ConnectionLost(DeliveryState.EHLO, Scope.SESSION, "no time left"),
    "short of ports": LocalShortageError,
    "bug": lambda: RuntimeError("a bug"),
}
ENDINGS: dict[str, Any] = {
    "delivered": lambda: None,
    "refused": lambda: Refused(DeliveryState.RCPTTO, Scope.MESSAGE, "no", reply=NO),
    "lost": lambda: ConnectionLost(DeliveryState.MAILFROM, Scope.HOST, "lost"),
    "busy": lambda: Refused(DeliveryState.MAILFROM, Scope.MESSAGE, "busy", reply=BUSY),
}


class Balance:
    """Messages that come, wait and give up; connections that open, fail and die; time that passes."""

    def __init__(self, seed: int, lender: Lender | None = None) -> None:
        self.random = random.Random(seed)
        self.loop = VirtualLoop()
        self.observer = RecordingObserver()
        self.pool = SessionPool(LIMITS, BUDGET, self.open, self.loop, lambda: 0.5, self.observer, lender=lender)
        self.openings: list[tuple[Lane, asyncio.Future[FakeSession]]] = []
        self.waiting: list[asyncio.Task[tuple[Lane, FakeSession]]] = []
        self.using: list[tuple[Lane, FakeSession]] = []
        self.sessions: list[FakeSession] = []
        self.lanes: list[Lane] = []
        self.steps: list[str] = []

    async def open(self, lane: Lane, deadline: float, *_: object) -> Any:
        future: asyncio.Future[FakeSession] = self.loop.create_future()
        self.openings.append((lane, future))
        return await future

    async def acquire(self, number: int, *, fresh: bool) -> tuple[Lane, FakeSession]:
        login = LOGIN if number % 2 else None  # two lanes to each pair of addresses
        lane = self.pool.lane(Route(None, f"192.0.2.{number // 2}", 25, credentials=login))
        if lane not in self.lanes:
            self.lanes.append(lane)
        session: Any = await lane.acquire(Ticket(number, 0.0), NO_END, fresh=fresh)
        return lane, session

    def settle(self) -> None:
        """Let everything that can run do so, and collect who got what."""
        self.loop.settle()
        self.openings = [opening for opening in self.openings if not opening[1].done()]
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                lane, session = task.result()
                session.messages += 1
                self.using.append((lane, session))
            else:
                assert isinstance(error, (DeliveryError, HostDownError, RuntimeError)), error

    def sometimes(self, share: float) -> bool:
        return self.random.random() < share

    def someone_gives_up(self, share: float) -> None:
        """In the same moment: it may be the very message that was just given something."""
        if self.waiting and self.sometimes(share):
            self.random.choice(self.waiting).cancel()

    # --- what may happen --------------------------------------------------------------------------------------------

    def messages_come(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            work = self.acquire(self.random.randrange(LANES), fresh=self.sometimes(0.15))
            self.waiting.append(self.loop.create_task(work))
            if self.sometimes(0.5):
                self.settle()

    def message_gives_up(self) -> None:
        self.someone_gives_up(1.0)

    def connection_opens(self) -> None:
        if self.openings:
            lane, future = self.random.choice(self.openings)
            if future.done():
                return
            session = FakeSession(lane)
            self.sessions.append(session)
            future.set_result(session)
            if self.sometimes(0.1):
                session.close()
            self.someone_gives_up(0.2)

    def opening_fails(self) -> None:
        if self.openings:
            _, future = self.random.choice(self.openings)
            if not future.done():
                future.set_exception(OPENING_FAILURES[self.random.choice(list(OPENING_FAILURES))]())
                self.someone_gives_up(0.2)

    def message_is_done(self) -> None:
        if not self.using:
            return
        lane, session = self.using.pop(self.random.randrange(len(self.using)))
        ending = self.random.choice(list(ENDINGS))
        error = ENDINGS[ending]()
        session.is_working |= error is None or ending == "refused"
        session.is_resetting = ending == "refused" and self.sometimes(0.8)
        if session.is_resetting and self.sometimes(0.2):
            session.answer_reset()  # early: servers answer what they were not asked yet
        if ending in ("lost", "busy"):
            session.abort()
        lane.release(session, error)  # type: ignore[arg-type]
        self.someone_gives_up(0.3)

    def reset_is_answered(self) -> None:
        resetting = [session for session in self.sessions if session.is_resetting]
        if resetting:
            self.random.choice(resetting).answer_reset()
            self.someone_gives_up(0.2)

    def peer_closes(self) -> None:
        if self.sessions:
            self.random.choice(self.sessions).close()
            self.someone_gives_up(0.2)

    def goodbyes_are_said(self) -> None:
        for session in self.sessions:
            if session.is_quitting:
                session.close()

    def time_passes(self) -> None:
        self.loop.advance(self.random.choice([0.1, 1.0, 11.0, 31.0, 100.0]))

    def unused_lanes_are_forgotten(self) -> None:
        self.pool.sweep()
        self.lanes = [lane for lane in self.lanes if lane.open_count or lane.has_waiters or self.is_known(lane)]

    def is_known(self, lane: Lane) -> bool:
        return self.pool._lanes.get(lane.route) is lane

    def step(self) -> None:
        happenings: dict[Callable[[], None], int] = {
            self.messages_come: 8,
            self.message_gives_up: 2,
            self.connection_opens: 8,
            self.opening_fails: 3,
            self.message_is_done: 8,
            self.reset_is_answered: 4,
            self.peer_closes: 2,
            self.goodbyes_are_said: 3,
            self.time_passes: 1,
            self.unused_lanes_are_forgotten: 1,
        }
        happening = self.random.choices(list(happenings), list(happenings.values()))[0]
        self.steps.append(happening.__name__)
        happening()
        if self.sometimes(0.7):
            self.settle()
        self.counts_agree()
        self.a_session_has_one_user()
        if self.sometimes(0.5):
            self.settle()
            self.every_session_is_somewhere()
            self.nobody_waits_for_nothing()

    # --- what always holds ------------------------------------------------------------------------------------------

    def counts_agree(self) -> None:
        opened = 0
        for lane in self.lanes:
            check_lane(lane)
            opened += lane.open_count
            pair = [other.open_count for other in self.lanes if other.is_limited_by(lane._budget)]
            assert sum(pair) <= LIMITS.max_connections
        self.permits_agree(opened)

    def permits_agree(self, opened: int) -> None:
        assert self.pool._budget.allowance.free + opened == BUDGET
        assert self.pool._budget.allowance.free >= 0

    def a_session_has_one_user(self) -> None:
        users = [session for _, session in self.using]
        assert len(set(users)) == len(users)
        for lane in self.lanes:
            assert not set(users).intersection(lane._idle)

    def every_session_is_somewhere(self) -> None:
        used = {session for _, session in self.using}
        for lane in self.lanes:
            for session in lane._sessions:
                fake: Any = session
                places = [session in lane._idle, fake in used, fake.is_resetting or fake.is_quitting]
                assert any(places), "a session nobody has and nobody can get"
            assert lane._suspicion is None or lane._starting, "nobody is left to decide"
            assert lane._starting == len([opening for opening in self.openings if opening[0] is lane])

    def nobody_waits_for_nothing(self) -> None:
        for lane in self.lanes:
            waiting = [waiter for waiter in (*lane._fresh_waiters, *lane._waiters) if not waiter.done()]
            if waiting and any(waiter in lane._waiters for waiter in waiting):
                assert not any(session.is_ready for session in lane._idle)
            if waiting:
                assert not may_open(lane, self.loop.time()), "a message waits although a connection may be opened"

    def end(self) -> None:
        for task in self.waiting:
            task.cancel()
        self.settle()
        for lane, session in self.using:
            session.abort()
            lane.release(session, None)  # type: ignore[arg-type]
        for session in self.sessions:
            session.close()
        self.settle()
        assert not self.waiting
        assert not [opening for opening in self.openings if not opening[1].done()]
        for lane in self.lanes:
            assert (lane.open_count, lane._starting, lane.has_waiters) == (0, 0, False)
        self.permits_agree(0)
        opened, closed = self.observer.all_of(SessionOpened), self.observer.all_of(SessionClosed)
        assert len(opened) == len(closed)
        self.loop.close()


def may_open(lane: Lane, now: float) -> bool:
    limit = 1 if lane._needs_probe else LIMITS.max_starting
    return (
        lane._open < LIMITS.max_connections
        and lane._starting < limit
        and lane._suspicion is None
        and lane._backoff_until <= now
        and lane._budget.has_free
    )


@pytest.mark.parametrize("seed", range(SEEDS))
def test_balance(seed: int) -> None:
    balance = Balance(seed)
    try:
        for _ in range(STEPS):
            balance.step()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, after {' '.join(balance.steps[-30:])}: {error}") from error
    finally:
        balance.end()
