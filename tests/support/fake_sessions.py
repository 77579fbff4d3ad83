"""Sessions without a connection and a loop without real time, for tests of who gets which session when."""

from __future__ import annotations

import asyncio
from typing import Any

from relayq.adapters.memory import RecordingObserver
from relayq.delivery.admission import Ticket
from relayq.delivery.lane import Lane, LaneLimits, MarkBoard, Route
from relayq.delivery.session_pool import SessionPool
from relayq.model import DeliveryError
from relayq.smtp import Credentials
from tests.support.engine import check_lane


class FakeSession:
    """What `relayq.delivery.lane` and `relayq.delivery.session_pool` see of a `relayq.delivery.session.Session`."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.messages = 0
        self.is_closed = False
        self.is_working = False
        self.is_leased = False
        self.is_exclusive = False
        self.is_resetting = False
        self.owes_reset = False
        self.is_quitting = False
        self.rests = 0

    @property
    def is_ready(self) -> bool:
        return not (self.is_closed or self.is_quitting or self.is_resetting)

    def reset(self) -> bool:
        if self.owes_reset:
            self.owes_reset, self.is_resetting = False, True
            return True
        return False

    def rest(self, seconds: float) -> None:
        self.rests += 1

    def quit(self) -> None:
        self.is_quitting = True

    def abort(self) -> None:
        self.is_quitting = True

    def answer_reset(self) -> None:
        """The peer answered RSET: it may take a message again."""
        self.is_resetting = False
        self.owner.session_ready(self)

    def close(self) -> None:
        """The connection is gone."""
        if not self.is_closed:
            self.is_closed = True
            self.is_resetting = False
            self.owner.session_closed(self)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_time = 1000.0
        self._problems: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self._problems.append(context))

    def time(self) -> float:
        return self._virtual_time

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """As uvloop does: what is due at once gets a handle without a time."""
        if when <= self._virtual_time:
            return self.call_soon(callback, *args, context=context)
        return super().call_at(when, callback, *args, context=context)

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire at the next `settle`."""
        self._virtual_time += seconds

    def settle(self, turns: int = 12) -> None:
        """Run whatever can run now."""
        for _ in range(turns):
            self.run_until_complete(asyncio.sleep(0))
        assert not self._problems, self._problems


class Yard:
    """A pool whose connections are opened by the test."""

    def __init__(self, limits: LaneLimits, budget: int = 10, marks: MarkBoard | None = None) -> None:
        self.loop = VirtualLoop()
        self.observer = RecordingObserver()
        self.pool = SessionPool(limits, budget, self.open, self.loop, lambda: 0.5, self.observer, marks=marks)
        self.openings: list[asyncio.Future[FakeSession]] = []
        self.deadlines: list[float] = []
        self.tickets: list[Ticket] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.lane = self.lane_to("192.0.2.1")

    def lane_to(self, address: str, user: str | None = None) -> Lane:
        login = None if user is None else Credentials(user, "secret")
        return self.pool.lane(Route(None, address, 25, credentials=login))

    async def open(self, lane: Lane, deadline: float, *_: object) -> Any:
        future: asyncio.Future[FakeSession] = self.loop.create_future()
        self.openings.append(future)
        self.deadlines.append(deadline)
        return await future

    def acquire(self, lane: Lane | None = None, *, fresh: bool = False, deadline: float = 1e9) -> asyncio.Task[Any]:
        ticket = Ticket("x", 0.0)
        self.tickets.append(ticket)
        task = self.loop.create_task((lane or self.lane).acquire(ticket, deadline, fresh=fresh))
        self.tasks.append(task)
        self.loop.settle()
        return task

    def opens(self, lane: Lane | None = None) -> FakeSession:
        """The oldest opening succeeds."""
        self.loop.settle()
        session = FakeSession(lane or self.lane)
        self.openings.pop(0).set_result(session)
        self.loop.settle()
        return session

    def fails(self, error: Exception) -> None:
        """The oldest opening fails."""
        self.loop.settle()
        self.openings.pop(0).set_exception(error)
        self.loop.settle()

    def release(self, session: FakeSession, error: DeliveryError | None = None) -> None:
        session.messages += 1
        session.is_working = True
        session.owner.release(session, error)
        self.loop.settle()

    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.loop.settle()

    def ready(self) -> FakeSession:
        """A session that has carried a message and is idle."""
        self.acquire()
        session = self.opens()
        self.release(session)
        return session

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        for opening in self.openings:
            opening.cancel()
        self.loop.settle()
        check_lane(self.lane)
        self.loop.close()
