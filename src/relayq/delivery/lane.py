"""Open sessions, and the messages waiting for one, between one local and one remote address.

Decides who gets a session, who opens one, and when nobody does: the pair is marked down after a host failure and left
alone, one probe decides when the mark has expired (spec delivery.md 8.2 to 8.4). A method either changes state at once
or is the one coroutine that waits, so cancelling a message cannot tear the counts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from relayq.delivery.admission import Ticket
from relayq.delivery.session import Session
from relayq.model import DeliveryError, DeliveryState, Scope
from relayq.policy.retry import AUTH_STATES
from relayq.policy.tls import NO_DEMAND, TlsDemand, TlsPolicy
from relayq.ports import LocalShortageError, Observer
from relayq.smtp import Credentials

_BEFORE_CONTENT = frozenset((DeliveryState.MAILFROM, DeliveryState.RCPTTO))
PROBLEM_WINDOW = 60.0
"""Seconds within which losses and timeouts count as "in a row" (spec delivery.md 8.4)."""


class Route(msgspec.Struct, frozen=True):
    """What sessions are shared by: one pair of addresses, one level of protection, one user.

    Attributes:
        egress_ip: Local address, ``None`` lets the host choose.
        remote_ip: Address of the host.
        port: Its port.
        tls: What its protection was checked for: sessions never serve a message that demands something else.
        credentials: Login of the session; never that of another message.
    """

    egress_ip: str | None
    remote_ip: str
    port: int
    tls: TlsPolicy = NO_DEMAND.policy
    credentials: Credentials | None = None

    def __str__(self) -> str:
        """For logs."""
        return f"{self.egress_ip or '*'} -> {self.remote_ip}:{self.port}"


class LaneLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one lane.

    Attributes:
        max_connections: Sessions at the same time, 0 for no limit.
        max_starting: Sessions between TCP connect and ready: no bursts against a dead or slow host.
        max_messages: Messages per session, 0 for no limit.
        max_idle: Seconds a session is kept without a message.
        offline_time: Seconds a failed pair is left alone.
        backoff_time: Seconds without new sessions to a pair that still works on another one.
        offline_after: Losses and timeouts in a row that mark the pair down.
    """

    max_connections: int = 20
    max_starting: int = 5
    max_messages: int = 0
    max_idle: float = 5.0
    offline_time: float = 300.0
    backoff_time: float = 60.0
    offline_after: int = 3


class Budget(Protocol):
    """Connections that may still be opened."""

    @property
    def idle_lanes(self) -> dict[Lane, None]:
        """Lanes with idle sessions, the one that has had any for longest first; kept by the lanes."""
        ...

    @property
    def has_free(self) -> bool:
        """One more may be opened."""
        ...

    def take(self, lane: Lane) -> bool:
        """Reserve one; when none is left remember the lane and wake it later."""
        ...

    def give(self) -> None:
        """One connection is gone."""
        ...

    def is_claimed(self, lane: Lane, session: Session) -> bool:
        """Whether a session nobody uses has to go, because another lane has a better right to a connection."""
        ...


class MarkBoard(Protocol):
    """Where processes tell each other which hosts are down."""

    def marked_down(self, route: Route, error: DeliveryError, seconds: float) -> None:
        """A route is left alone for so long."""
        ...

    def cleared(self, route: Route) -> None:
        """A connection got through on a route that had been marked down."""
        ...


class HostDownError(Exception):
    """Every message waiting for this pair has to look elsewhere; carries what ended the last try."""

    def __init__(self, failure: DeliveryError) -> None:
        super().__init__(str(failure))
        self.failure = failure


Waiter = asyncio.Future[Session | None]
"""Resolved with a session to use, or with ``None``: the right to open one."""

OpenSession = Callable[["Lane", float, TlsDemand], Coroutine[Any, Any, Session]]
"""Opens a session for a lane, until an instant of the loop's clock at the latest, as the opening message demands."""


class Lane:
    """All sessions of one route.

    Every open connection is counted in ``_open``; it is in ``_sessions`` once it got through its opening, and counted
    in ``_starting`` until then. A session is leased to one message, or idle, or being reset.
    """

    def __init__(
        self,
        route: Route,
        limits: LaneLimits,
        budget: Budget,
        open_session: OpenSession,
        loop: asyncio.AbstractEventLoop,
        jitter: Callable[[], float],
        observer: Observer,
        marks: MarkBoard | None = None,
    ) -> None:
        self.route = route
        self._marks = marks
        self._limits = limits
        self._budget = budget
        self._open_session = open_session
        self._loop = loop
        self._jitter = jitter
        self._observer = observer
        self._idle: list[Session] = []
        self._waiters: deque[Waiter] = deque()
        self._fresh_waiters: deque[Waiter] = deque()
        self._sessions: set[Session] = set()
        self._proven: set[Session] = set()
        self._open = 0
        self._starting = 0
        self._down_until = 0.0
        self._backoff_until = 0.0
        self._is_crowded = False
        self._remember_until = 0.0
        self._needs_probe = False
        self._is_closing = False
        self._endings: dict[Session, asyncio.Future[None]] = {}
        self._last_failure: DeliveryError | None = None
        self._suspicion: DeliveryError | None = None
        self._problems: deque[float] = deque(maxlen=limits.offline_after)
        self._wakeup: asyncio.TimerHandle | None = None

    # --- what the walk over candidates looks at -------------------------------------------------------------------

    @property
    def has_idle(self) -> bool:
        """A session is there at once."""
        return bool(self._idle)

    @property
    def has_waiters(self) -> bool:
        """Messages wait for a session."""
        return bool(self._waiters or self._fresh_waiters)

    def is_limited_by(self, budget: Budget) -> bool:
        """Whether a connection closed here is one more for the other lanes of the budget."""
        return self._budget is budget

    @property
    def open_count(self) -> int:
        """Connections open or being opened."""
        return self._open

    @property
    def load(self) -> int:
        """Messages waiting, less what is free: the smaller the sooner."""
        return len(self._waiters) + len(self._fresh_waiters) - len(self._idle)

    def is_unused(self, now: float) -> bool:
        """Nothing here is worth remembering."""
        if self._open or self._waiters or self._fresh_waiters:
            return False
        problems_until = self._problems[-1] + PROBLEM_WINDOW if self._problems else 0.0
        return max(self._remember_until, self._backoff_until, problems_until) <= now

    def is_down(self, now: float) -> bool:
        """Whether it is left alone at this instant of the loop's clock."""
        return self._down_until > now

    def failure_when_down(self) -> DeliveryError | None:
        """The remembered failure while the pair is marked down, as a copy for a message that did not try."""
        if self._down_until > self._loop.time() and self._last_failure is not None:
            return copy_failure(self._last_failure)
        return None

    # --- getting a session ----------------------------------------------------------------------------------------

    async def acquire(
        self, ticket: Ticket, deadline: float, *, fresh: bool = False, demand: TlsDemand = NO_DEMAND
    ) -> Session:
        """A session of this lane: an idle one, a new one, or the next that becomes free.

        It is leased to the caller until :meth:`release`; the peer may have closed it meanwhile.

        Args:
            ticket: Marked while this call opens a connection: others wait for that too.
            deadline: Instant of the loop's clock at which the caller's attempt ends.
            fresh: Only a new one will do (the reused one turned out dead).
            demand: What a session this call opens has to show; its policy is that of the route.

        Raises:
            DeliveryError: This call opened a connection and failed; the pair may be marked down now.
            HostDownError: The pair is marked down, or was while this call waited.
        """
        failure = self.failure_when_down()
        if failure is not None:
            raise HostDownError(failure)
        waiters = self._fresh_waiters if fresh else self._waiters
        session: Session | None = None
        is_turn = not waiters
        while session is None:
            if is_turn and not fresh and (session := self._take_idle()) is not None:
                break
            if is_turn and self._reserve():
                session = await self._open_reserved(ticket, deadline, demand)
            else:
                waiter = self._queue(waiters, at_front=is_turn)
                try:
                    session = await waiter
                except asyncio.CancelledError:
                    self._return_grant(waiter, waiters)
                    raise
                if session is None:
                    session = await self._open_reserved(ticket, deadline, demand)
                elif not session.is_ready:
                    session.is_leased = False
                    session = None
            # Still None: this host lacks ports or memory, or the session died on its way here; whoever waited is next.
            is_turn = True
        session.is_leased = True
        return session

    def _queue(self, waiters: deque[Waiter], *, at_front: bool) -> Waiter:
        waiter: Waiter = self._loop.create_future()
        if at_front:
            waiters.appendleft(waiter)
        else:
            waiters.append(waiter)
        return waiter

    def _return_grant(self, waiter: Waiter, waiters: deque[Waiter]) -> None:
        """The message gave up waiting: what it was given in the same moment goes to the next."""
        if waiter.cancelled() or not waiter.done():
            if waiter in waiters:
                waiters.remove(waiter)
        elif waiter.exception() is None:
            session = waiter.result()
            if session is None:
                self._unreserve()
            else:
                self._put(session)
        self._pump()

    def _take_idle(self) -> Session | None:
        session = None
        while self._idle and session is None:
            session = self._idle.pop()
            if not session.is_ready:
                session = None
        if not self._idle:
            self._budget.idle_lanes.pop(self, None)
        return session

    # --- opening --------------------------------------------------------------------------------------------------

    def _reserve(self) -> bool:
        """Claim the right to open one connection."""
        limits = self._limits
        if limits.max_connections and self._open >= limits.max_connections:
            return False
        if self._starting >= (1 if self._needs_probe else limits.max_starting) or self._suspicion is not None:
            return False
        if self._backoff_until > self._loop.time() or not self._budget.take(self):
            return False
        self._open += 1
        self._starting += 1
        return True

    def _unreserve(self, error: BaseException | None = None) -> None:
        """The right to open was not used, or not with success; judge the host before anybody else may try."""
        self._open -= 1
        self._starting -= 1
        if isinstance(error, DeliveryError) and _is_about_host(error):
            self._opening_failed(error)
        if self._suspicion is not None and not self._starting:
            self._mark_down(self._suspicion)  # nobody else was let in either
        self._budget.give()

    async def _open_reserved(self, ticket: Ticket, deadline: float, demand: TlsDemand) -> Session | None:
        """Open the connection this call has the right to; ``None`` when local resources are short."""
        ticket.is_opening = True
        begun_at = self._loop.time()
        try:
            session = await self._open_session(self, deadline, demand)
        except LocalShortageError:
            self.back_off(1.0 + 4.0 * self._jitter())
            self._unreserve()
            return None
        except BaseException as error:
            self._unreserve(error)
            self._pump()
            raise
        finally:
            ticket.is_opening = False
        self._opened(session, self._loop.time() - begun_at)
        return session

    def _opened(self, session: Session, seconds: float) -> None:
        session.is_leased = True
        if session.is_closed:
            self._unreserve()
        else:
            self._starting -= 1
            self._sessions.add(session)
            self._observer.session_opened(str(self.route), seconds)
            # It got as far as MAIL FROM: whatever happened to other connections, the host is not down.
            if self._down_until and self._marks is not None:
                self._marks.cleared(self.route)
            self._needs_probe = False
            self._down_until = 0.0
            if self._suspicion is not None:
                self._suspicion = None
                self._open_no_more()
        self._pump()

    # --- giving it back -------------------------------------------------------------------------------------------

    def release(self, session: Session, error: DeliveryError | None) -> None:
        """The message is done with the session; ``error`` is what ended the attempt, if anything did."""
        if session.is_working and session in self._sessions and session not in self._proven:
            self._proven.add(session)
            self._down_until = 0.0
        if error is None or error.reply is not None:
            self._problems.clear()
        if error is not None:
            self._learn(error)
        self._put(session)

    def _learn(self, error: DeliveryError) -> None:
        """Draw conclusions about the host from how a transaction ended (spec delivery.md 8.4, 14.3)."""
        reply = error.reply
        if reply is not None:
            if reply.code == 421 and error.ordinal == 1 and error.state in _BEFORE_CONTENT:
                self.back_off(self._limits.backoff_time)
            return
        if error.scope is Scope.MESSAGE or error.state is DeliveryState.STORAGE or error.cause is not None:
            return
        now = self._loop.time()
        self._problems.append(now)
        if len(self._problems) == self._problems.maxlen and now - self._problems[0] <= PROBLEM_WINDOW:
            self._problems.clear()
            if self._proven:
                self._open_no_more()
            else:
                self._mark_down(error)

    def session_ready(self, session: Session) -> None:
        """RSET was answered: the session may take a message again."""
        # Before its message has let go of it the answer changes nothing: the release puts it back.
        if session in self._sessions and not session.is_leased:
            self._put(session)

    def _put(self, session: Session) -> None:
        """Nobody uses the session now: give it to the next message, keep it, or close it."""
        session.is_leased = False
        if not session.is_ready:
            return
        if self._has_served(session):
            session.quit()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                session.is_leased = True
                waiter.set_result(session)
                return
        if session.reset():
            return  # nobody's next mail carries the RSET: it comes back when that is answered
        self._idle.append(session)
        self._budget.idle_lanes[self] = None
        session.rest(self._limits.max_idle)

    def _has_served(self, session: Session) -> bool:
        """Whether it has to be closed instead of being used again."""
        limit = self._limits.max_messages
        if self._is_closing or session.is_exclusive or (limit and session.messages >= limit):
            return True
        return self._budget.is_claimed(self, session)

    def session_closed(self, session: Session) -> None:
        """The connection is gone, whoever ended it."""
        if session not in self._sessions:
            return  # never got through its opening: whoever opened it counts it out
        self._sessions.discard(session)
        self._proven.discard(session)
        if session in self._idle:
            self._idle.remove(session)
            if not self._idle:
                self._budget.idle_lanes.pop(self, None)
        if (ending := self._endings.pop(session, None)) is not None:
            ending.set_result(None)
        self._open -= 1
        self._observer.session_closed(str(self.route), session.messages)
        self._budget.give()
        if self._is_crowded and not self._sessions:
            # The pause was for connections besides a working one. Without any, one probe tells more than waiting.
            self._needs_probe = True
            self._backoff_until = 0.0
            self._is_crowded = False
        self._pump()

    def close_idle(self) -> bool:
        """Say goodbye on the longest idle session; false when there is none."""
        if not self._idle:
            return False
        session = self._idle.pop(0)
        if not self._idle:
            self._budget.idle_lanes.pop(self, None)
        session.quit()
        return True

    def close(self) -> list[asyncio.Future[None]]:
        """Orderly stop: sessions without a message end now, those in use when their message is done.

        Returns:
            What is done when a session is gone, for each that is not yet.
        """
        self._is_closing = True
        if self._wakeup is not None:
            self._wakeup.cancel()
        while self.close_idle():
            pass
        for session in self._sessions:
            if not session.is_leased:
                session.quit()  # being reset: nothing is left to be said politely
        self._endings = {session: self._loop.create_future() for session in self._sessions}
        return list(self._endings.values())

    def abort(self) -> None:
        """Close every connection at once."""
        for session in tuple(self._sessions):
            session.abort()

    # --- a host in trouble ----------------------------------------------------------------------------------------

    def _opening_failed(self, error: DeliveryError) -> None:
        """Mark the pair down, or only stop opening more while another connection of it works (spec delivery.md 8.4)."""
        if self._sessions:
            self._open_no_more()
        elif error.reply is not None and self._starting:
            # Perhaps "too many connections", and one of those under way is let in: they decide, not who was first.
            self._suspicion = error
        else:
            self._mark_down(error)

    def _mark_down(self, error: DeliveryError) -> None:
        if self._marks is not None:
            self._marks.marked_down(self.route, error, self._limits.offline_time)
        self._leave_alone(error, self._limits.offline_time)

    def _leave_alone(self, error: DeliveryError, offline_time: float) -> None:
        self._suspicion = None
        self._last_failure = error
        self._down_until = self._loop.time() + offline_time
        self._remember_until = self._down_until + 2 * offline_time
        self._needs_probe = True
        for waiters in (self._fresh_waiters, self._waiters):
            while waiters:
                waiter = waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(HostDownError(copy_failure(error)))

    def believe_down(self, error: DeliveryError, seconds: float) -> None:
        """Another process marked the pair down; a connection of our own that works knows better."""
        if not self._sessions:
            self._leave_alone(error, min(seconds, self._limits.offline_time))

    def believe_up(self) -> None:
        """Another process has got through."""
        self._down_until = 0.0
        self._needs_probe = False
        self._pump()

    def reconfigure(self, limits: LaneLimits) -> None:
        """Other limits from now on."""
        self._limits = limits
        self._problems = deque(self._problems, maxlen=limits.offline_after)
        self._pump()

    def _open_no_more(self) -> None:
        """Make do with the connections there are for a while (spec delivery.md 8.4)."""
        self._is_crowded = True
        self.back_off(self._limits.backoff_time)

    def back_off(self, seconds: float) -> None:
        """Open no further connection for a while; those that wait for one go on waiting."""
        self._backoff_until = max(self._backoff_until, self._loop.time() + seconds)
        if self._wakeup is not None:
            self._wakeup.cancel()
        self._wakeup = self._loop.call_at(self._backoff_until, self._wake_up)

    def _wake_up(self) -> None:
        self._wakeup = None
        self._backoff_until = 0.0
        self._is_crowded = False
        self._pump()

    def _pump(self) -> None:
        """Let as many of those that wait open a connection as may."""
        for waiters in (self._fresh_waiters, self._waiters):
            while waiters:
                if waiters[0].done():
                    waiters.popleft()
                elif self._reserve():
                    waiters.popleft().set_result(None)
                else:
                    return

    wake = _pump
    """For the budget: a connection of the process became free."""


def _is_about_host(error: DeliveryError) -> bool:
    """Whether others had better not try what ended an opening.

    A refused login is a matter of the user, and so of the lane. A certificate for other names than the domain of the
    message says nothing about the next domain, which may be among them.
    """
    if error.scope is Scope.HOST:
        return error.cause != "tls-name"
    return error.state in AUTH_STATES and error.scope is Scope.DESTINATION


def copy_failure(error: DeliveryError) -> DeliveryError:
    """What a message gets that did not try: the same failure, transient, no connection (spec delivery.md 8.4)."""
    copy = type(error)(
        error.state,
        Scope.DESTINATION if error.scope is Scope.DESTINATION else Scope.HOST,
        f"host is marked down: {error.reason}",
        reply=error.reply,
        received=error.received,
        is_final=False,
        cause=error.cause,
    )
    copy.was_tried = False
    return copy
