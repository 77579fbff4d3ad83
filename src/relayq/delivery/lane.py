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

from relayq.delivery.session import Session
from relayq.model import DeliveryError, DeliveryState, Scope
from relayq.ports import LocalShortageError

PROBLEM_WINDOW = 60.0
"""Seconds within which losses and timeouts count as "in a row" (spec delivery.md 8.4)."""


class Route(msgspec.Struct, frozen=True):
    """What sessions are shared by: one pair of addresses, one level of protection, one user.

    Attributes:
        egress_ip: Local address, ``None`` lets the host choose.
        remote_ip: Address of the host.
        port: Its port.
        tls: Key of the TLS policy: sessions never serve a message that demands another one.
        user: User name when the session is logged in.
    """

    egress_ip: str | None
    remote_ip: str
    port: int
    tls: str = ""
    user: str | None = None

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
    """Connections the whole process may still open."""

    def take(self, lane: Lane) -> bool:
        """Reserve one; when none is left remember the lane and wake it later."""
        ...

    def give(self) -> None:
        """One connection is gone."""
        ...


class HostDownError(Exception):
    """Every message waiting for this pair has to look elsewhere; carries what ended the last try."""

    def __init__(self, failure: DeliveryError) -> None:
        super().__init__(str(failure))
        self.failure = failure


Waiter = asyncio.Future[Session | None]
"""Resolved with a session to use, or with ``None``: the right to open one."""

OpenSession = Callable[["Lane"], Coroutine[Any, Any, Session]]


class Lane:
    """All sessions of one route."""

    def __init__(
        self,
        route: Route,
        limits: LaneLimits,
        budget: Budget,
        open_session: OpenSession,
        loop: asyncio.AbstractEventLoop,
        jitter: Callable[[], float],
    ) -> None:
        self.route = route
        self._limits = limits
        self._budget = budget
        self._open_session = open_session
        self._loop = loop
        self._jitter = jitter
        self._idle: list[Session] = []
        self._waiters: deque[Waiter] = deque()
        self._fresh_waiters: deque[Waiter] = deque()
        self._sessions: set[Session] = set()
        self._proven: set[Session] = set()
        self._open = 0
        self._starting = 0
        self._down_until = 0.0
        self._backoff_until = 0.0
        self._needs_probe = False
        self._last_failure: DeliveryError | None = None
        self._problems: deque[float] = deque(maxlen=limits.offline_after)
        self._wakeup: asyncio.TimerHandle | None = None

    # --- what the walk over candidates looks at -------------------------------------------------------------------

    @property
    def has_idle(self) -> bool:
        """A session is there at once."""
        return bool(self._idle)

    @property
    def load(self) -> int:
        """Messages waiting, less what is free: the smaller the sooner."""
        return len(self._waiters) + len(self._fresh_waiters) - len(self._idle)

    @property
    def is_unused(self) -> bool:
        """Nothing here is worth remembering."""
        return (
            not (self._open or self._waiters or self._fresh_waiters or self._problems)
            and max(self._down_until, self._backoff_until) <= self._loop.time()
        )

    def failure_when_down(self) -> DeliveryError | None:
        """The remembered failure while the pair is marked down, as a copy for a message that did not try."""
        if self._down_until > self._loop.time() and self._last_failure is not None:
            return copy_failure(self._last_failure)
        return None

    # --- getting a session ----------------------------------------------------------------------------------------

    async def acquire(self, *, fresh: bool = False) -> Session:
        """A ready session of this lane: an idle one, a new one, or the next that becomes free.

        Args:
            fresh: Only a new one will do (the reused one turned out dead).

        Raises:
            DeliveryError: This call opened a connection and failed; the pair may be marked down now.
            HostDownError: The pair is marked down, or was while this call waited.
        """
        failure = self.failure_when_down()
        if failure is not None:
            raise HostDownError(failure)
        if not fresh and not self._waiters:
            session = self._take_idle()
            if session is not None:
                return session
        granted: Session | None = None
        is_reserved = self._reserve() if fresh or not self._waiters else False
        while granted is None:
            if not is_reserved:
                granted = await self._queue(self._fresh_waiters if fresh else self._waiters)
            if granted is None:
                granted = await self._open_reserved()
            # Still None: this host lacks ports or memory; the lane backs off and this message waits on, at the front.
            is_reserved = False
        return granted

    async def _queue(self, waiters: deque[Waiter]) -> Session | None:
        waiter: Waiter = self._loop.create_future()
        waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._return_grant(waiter, waiters)
            raise

    def _return_grant(self, waiter: Waiter, waiters: deque[Waiter]) -> None:
        """The message gave up waiting: what it was given in the same moment goes to the next."""
        if waiter.cancelled() or not waiter.done():
            if waiter in waiters:
                waiters.remove(waiter)
        elif waiter.exception() is None:
            session = waiter.result()
            if session is None:
                self._unreserve()
            elif session.is_ready:
                self._put(session)
        self._pump()

    def _take_idle(self) -> Session | None:
        while self._idle:
            session = self._idle.pop()
            if session.is_ready:
                return session
        return None

    # --- opening --------------------------------------------------------------------------------------------------

    def _reserve(self) -> bool:
        """Claim the right to open one connection."""
        limits = self._limits
        if limits.max_connections and self._open >= limits.max_connections:
            return False
        if self._starting >= (1 if self._needs_probe else limits.max_starting):
            return False
        if self._backoff_until > self._loop.time() or not self._budget.take(self):
            return False
        self._open += 1
        self._starting += 1
        return True

    def _unreserve(self) -> None:
        self._open -= 1
        self._starting -= 1
        self._budget.give()

    async def _open_reserved(self) -> Session | None:
        """Open the connection this call has the right to; ``None`` when local resources are short."""
        try:
            session = await self._open_session(self)
        except LocalShortageError:
            self._unreserve()
            self.back_off(1.0 + 4.0 * self._jitter())
            return None
        except DeliveryError as error:
            self._unreserve()
            if error.state is not DeliveryState.BIND:
                self.host_failed(error)
            self._pump()
            raise
        except BaseException:
            self._unreserve()
            self._pump()
            raise
        if session.is_closed:
            self._unreserve()
        else:
            self._starting -= 1
            self._sessions.add(session)
        self._pump()
        return session

    # --- giving it back -------------------------------------------------------------------------------------------

    def release(self, session: Session, error: DeliveryError | None) -> None:
        """The message is done with the session; ``error`` is what ended the attempt, if anything did."""
        if session.is_working and session in self._sessions and session not in self._proven:
            self._proven.add(session)
            self._needs_probe = False
            self._pump()
        if error is None or error.reply is not None:
            self._problems.clear()
        if error is not None:
            self._learn(error)
        if session.is_ready:
            self._put(session)

    def _learn(self, error: DeliveryError) -> None:
        """Draw conclusions about the host from how a transaction ended (spec delivery.md 8.4, 14.3)."""
        reply = error.reply
        if reply is not None:
            if reply.code == 421 and error.ordinal == 1:
                self.back_off(self._limits.backoff_time)
            return
        if error.scope is Scope.MESSAGE or error.state is DeliveryState.STORAGE or error.cause is not None:
            return
        now = self._loop.time()
        self._problems.append(now)
        if len(self._problems) == self._problems.maxlen and now - self._problems[0] <= PROBLEM_WINDOW:
            self._problems.clear()
            self.host_failed(error)

    def session_ready(self, session: Session) -> None:
        """RSET was answered: the session may take a message again."""
        if session in self._sessions and session.is_ready:
            self._put(session)

    def _put(self, session: Session) -> None:
        limit = self._limits.max_messages
        if limit and session.messages >= limit:
            session.quit()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(session)
                return
        self._idle.append(session)
        session.rest(self._limits.max_idle)

    def session_closed(self, session: Session) -> None:
        """The connection is gone, whoever ended it."""
        if session not in self._sessions:
            return  # never got through its opening: whoever opened it counts it out
        self._sessions.discard(session)
        self._proven.discard(session)
        if session in self._idle:
            self._idle.remove(session)
        self._open -= 1
        self._budget.give()
        self._pump()

    def close_idle(self) -> bool:
        """Say goodbye on the longest idle session; false when there is none."""
        if not self._idle:
            return False
        self._idle.pop(0).quit()
        return True

    def quit_all(self) -> None:
        """Orderly stop: idle sessions say goodbye."""
        while self._idle:
            self._idle.pop().quit()

    # --- a host in trouble ----------------------------------------------------------------------------------------

    def host_failed(self, error: DeliveryError) -> None:
        """Mark the pair down, or only stop opening more while another connection of it works (spec delivery.md 8.4)."""
        if self._proven:
            self.back_off(self._limits.backoff_time)
            return
        self._last_failure = error
        self._down_until = self._loop.time() + self._limits.offline_time
        self._needs_probe = True
        for waiters in (self._fresh_waiters, self._waiters):
            while waiters:
                waiter = waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(HostDownError(copy_failure(error)))

    def back_off(self, seconds: float) -> None:
        """Open no further connection for a while; those that wait for one go on waiting."""
        self._backoff_until = max(self._backoff_until, self._loop.time() + seconds)
        if self._wakeup is not None:
            self._wakeup.cancel()
        self._wakeup = self._loop.call_at(self._backoff_until, self._pump)

    def forget_trouble(self) -> None:
        """An operator says the host is fine again."""
        self._down_until = self._backoff_until = 0.0
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


def copy_failure(error: DeliveryError) -> DeliveryError:
    """What a message gets that did not try: the same failure, transient, no connection (spec delivery.md 8.4)."""
    return type(error)(
        error.state,
        Scope.HOST,
        f"host is marked down: {error.reason}",
        reply=error.reply,
        received=error.received,
        is_final=False,
        cause=error.cause,
    )
