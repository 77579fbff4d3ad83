"""One SMTP session: the bridge between the protocol without I/O and a connection.

It knows bytes, time limits and futures; what a reply means for a message it leaves to the policy, and what to do about
a dead host to the pool. One deadline timer per session is moved lazily: arming one per command costs more than the
commands (spec delivery.md 13.1 gives the limits).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from relayq.delivery.waiting import JOURNAL_IS_DOWN, PARKED_SECONDS, NotNowError
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
from relayq.policy.retry import AUTH_STATES
from relayq.ports import Secured, TlsError, TlsFailureKind
from relayq.smtp import (
    Broken,
    Closed,
    Delivered,
    Event,
    Ready,
    RecipientAccepted,
    SmtpClient,
    StartTls,
    Transaction,
)
from relayq.smtp import Refused as RefusedEvent

_HOST_STATES = AUTH_STATES | {DeliveryState.INTRO, DeliveryState.EHLO, DeliveryState.HELO, DeliveryState.STARTTLS}
_UNTRANSFERRED = frozenset((DeliveryState.MAILFROM, DeliveryState.RCPTTO))
_MESSAGE = DeliveryState.MESSAGE
_READ_LIMIT = 1 << 16
_WRITTEN_OCTETS = 1 << 18
"""Given to the transport at a time."""
_PROGRESS = (Ready, StartTls, Delivered, RecipientAccepted)
"""Events that lead on; made once, because a union of types is made anew wherever it is written."""
BeforeContent = Callable[[], Awaitable[object] | None]
"""Called right before content leaves; ``None`` for "go on". May raise ``NotNowError``."""
NO_LIMIT = 86_400.0
"""Seconds: the clock of somebody else, such as the store's, comes long before."""
_TLS_ERRORS: dict[TlsFailureKind, type[DeliveryError]] = {
    TlsFailureKind.REFUSED: Refused,
    TlsFailureKind.CERTIFICATE: Refused,
    TlsFailureKind.EXPIRED: Refused,
    TlsFailureKind.NAME: Refused,
    TlsFailureKind.NOT_TLS: Unusable,
    TlsFailureKind.LOST: ConnectionLost,
}
_TLS_CAUSES = {
    TlsFailureKind.REFUSED: "tls-failed",
    TlsFailureKind.CERTIFICATE: "tls-certificate",
    TlsFailureKind.EXPIRED: "tls-expired",
    TlsFailureKind.NAME: "tls-name",
}


class SmtpTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds per phase of the dialogue (spec delivery.md 13.1)."""

    connect: float = 30.0
    intro: float = 300.0
    ehlo: float = 300.0
    starttls: float = 120.0
    auth: float = 120.0
    mailfrom: float = 300.0
    rcptto: float = 300.0
    data: float = 120.0
    block: float = 180.0
    message: float = 600.0
    quit: float = 5.0

    def by_state(self) -> dict[DeliveryState, float]:
        """Limit of every state in which a reply is awaited."""
        limits = dict.fromkeys(AUTH_STATES, self.auth)
        limits |= {
            DeliveryState.INTRO: self.intro,
            DeliveryState.EHLO: self.ehlo,
            DeliveryState.HELO: self.ehlo,
            DeliveryState.STARTTLS: self.starttls,
            DeliveryState.MAILFROM: self.mailfrom,
            DeliveryState.RCPTTO: self.rcptto,
            DeliveryState.STORAGE: NO_LIMIT,
            DeliveryState.DATA: self.data,
            DeliveryState.MESSAGE: self.message,
        }
        return limits


class SessionOwner(Protocol):
    """Whoever keeps the session when no message uses it."""

    def session_ready(self, session: Session) -> None:
        """A session that was being reset may take a message again."""
        ...

    def session_closed(self, session: Session) -> None:
        """The connection is gone; called once, whoever ended it."""
        ...


class Session(asyncio.Protocol):
    """One SMTP dialogue over one connection.

    Attributes:
        messages: Messages it has been used for, the current one included.
        egress_ip: Local address as the socket reports it.
        remote_ip: Remote address as the socket reports it.
        is_closed: Nothing can be sent any more.
        is_working: A MAIL FROM was answered positively at least once.
        has_answered: A command of the current message was answered positively.
        is_leased: A message has it, or is about to resume with it. Kept by the lane.
        secured: What the TLS handshake showed, ``None`` in clear.
        is_exclusive: Its certificate is good for the message that opened it, and perhaps for no other: it is closed
            after that one.
    """

    def __init__(
        self,
        owner: SessionOwner,
        limits: dict[DeliveryState, float],
        timeouts: SmtpTimeouts,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.messages = 0
        self.egress_ip = ""
        self.remote_ip = ""
        self.is_closed = False
        self.is_working = False
        self.has_answered = False
        self.is_leased = False
        self._owner = owner
        self._limits = limits
        self._timeouts = timeouts
        self._loop = loop
        self._client: SmtpClient | None = None
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._waiter: asyncio.Future[Event] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0
        self._deadline = 0.0
        self._timed_state: DeliveryState | None = None
        self._attempt_deadline: float | None = None
        self._idle_seconds: float | None = None
        self._is_write_paused = False
        self._unsent: deque[memoryview] = deque()
        self._unwritten = 0
        self._is_quitting = False
        self._unclaimed: Event | None = None
        self.secured: Secured | None = None
        self.is_exclusive = False
        self._sent = 0
        self._sent_content = 0
        self._content_octets = 0
        self._before_content: BeforeContent | None = None
        self._held: list[bytes] | None = None

    @property
    def client(self) -> SmtpClient:
        """The protocol; only valid once the session was started."""
        assert self._client is not None
        return self._client

    @property
    def is_ready(self) -> bool:
        """It may take a message at once."""
        return not self.is_closed and not self._is_quitting and self._client is not None and self._client.is_ready

    # --- connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn the addresses as the socket reports them."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport
        self.egress_ip = _plain_ip(transport.get_extra_info("sockname"))
        self.remote_ip = _plain_ip(transport.get_extra_info("peername"))

    def data_received(self, data: bytes) -> None:
        """Hand the octets to the protocol and act on what they mean."""
        if self._client is None:
            if sum(map(len, self._early)) < _READ_LIMIT:
                self._early.append(data)
            return
        self._client.receive_data(data)
        self._advance()

    def eof_received(self) -> None:
        """The peer closed its side: SMTP knows no half-open connection, so nothing is waited for any more."""
        if self._client is not None:
            self._client.receive_data(b"")
            self._advance()
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol, whoever waits, and the owner."""
        if self.is_closed:
            return
        self.is_closed = True
        self._unsent.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._client is not None:
            self._client.receive_data(b"")
            self._advance()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Closed())
        self._owner.session_closed(self)

    def pause_writing(self) -> None:
        """The peer does not take our octets: from now on progress is what is timed."""
        self._is_write_paused = True
        self._move_deadline()

    def resume_writing(self) -> None:
        """The peer took enough."""
        self._is_write_paused = False
        self._feed()
        self._move_deadline()

    def _advance(self) -> None:
        """Write what the protocol wants written, and pass its events on."""
        client = self._client
        assert client is not None
        has_event = False
        while (event := client.next_event()) is not None:
            has_event = True
            self._pass_on(event)
        out = client.pieces_to_send()
        if self.is_closed:
            return
        if not out and client.is_ready:
            return  # whoever is told does the next step, and is timed then: a transaction, the wait for one, or QUIT
        state = client.state
        if out:
            if state is _MESSAGE and not self._may_send_content(out):
                return
            self._write(out)
        # Octets that complete nothing buy the peer no time, or one octet per minute would hold a message for ever.
        if out or has_event or state is not self._timed_state:
            self._move_deadline(state)

    def _write(self, out: list[bytes]) -> None:
        transport = self._transport
        assert transport is not None
        for piece in out:
            size = len(piece)
            self._sent += size
            if size <= _WRITTEN_OCTETS and not self._unsent:
                transport.write(piece)
            else:
                self._unsent.append(memoryview(piece))
        if self._unsent:
            self._feed()

    def _feed(self) -> None:
        """Give the transport as much of a large content as it wants: with TLS all it has is there twice more."""
        unsent, transport = self._unsent, self._transport
        while unsent and not self._is_write_paused and not self.is_closed:
            assert transport is not None
            piece = unsent.popleft()
            if len(piece) > _WRITTEN_OCTETS:
                unsent.appendleft(piece[_WRITTEN_OCTETS:])
            transport.write(piece[:_WRITTEN_OCTETS])

    @property
    def _unwritten_now(self) -> int:
        """Octets the peer did not take yet."""
        assert self._transport is not None
        return self._transport.get_write_buffer_size() + sum(map(len, self._unsent))

    def _may_send_content(self, out: list[bytes]) -> bool:
        """Whether content may leave now; false when it never will, or has to wait for its note in the journal."""
        if self._is_too_late_for_content():
            return False
        before, self._before_content = self._before_content, None
        if before is not None:
            try:
                noted = before()
            except NotNowError as wait:
                self._break_off(wait)
                return False
            if noted is not None:
                self._held = out
                self._move_deadline()
                asyncio.ensure_future(noted).add_done_callback(self._release_content)
                return False
        self._sent_content += self._content_octets
        self._content_octets = 0
        return True

    def _release_content(self, noted: asyncio.Future[object]) -> None:
        """The note is safe; if the message is still there its content leaves."""
        out, self._held = self._held, None
        if self.is_closed or self._is_quitting or out is None or self._waiter is None or self._waiter.done():
            self.abort()
        elif noted.cancelled() or noted.exception() is not None:
            self._break_off(NotNowError(PARKED_SECONDS, JOURNAL_IS_DOWN))
        else:
            self._sent_content += self._content_octets
            self._content_octets = 0
            self._write(out)
            self._move_deadline()

    def _break_off(self, wait: NotNowError) -> None:
        """End the session instead of sending content; the message gets no result."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(wait)
        self.abort()

    def _is_too_late_for_content(self) -> bool:
        """Break off instead of starting content that could not be answered in time (spec delivery.md 8.1)."""
        limit, waiter = self._attempt_deadline, self._waiter
        if limit is None or waiter is None or waiter.done():
            return False
        if self._loop.time() + self._timeouts.message <= limit:
            return False
        self._break_off(NotNowError(PARKED_SECONDS, "no time left to send content"))
        return True

    def _pass_on(self, event: Event) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self._waiter = None
            if (self._is_write_paused or self._unsent or self._held is not None) and isinstance(event, Delivered):
                # Agreement to content that is still in our own buffer is no agreement.
                event = Broken(_MESSAGE, ResultType.INVALID, reply=event.reply)
            waiter.set_result(event)
            if self._held is not None:
                self.abort()  # it waits for content that will not come any more
        elif isinstance(event, Ready):
            if not self._is_quitting:
                self._owner.session_ready(self)
        else:
            # Nobody waits: the peer spoke or closed while idle, being reset, around a handshake, or after QUIT.
            self._unclaimed = event
            self.abort()

    # --- time ---------------------------------------------------------------------------------------------------

    def _move_deadline(self, state: DeliveryState | None = None) -> None:
        """Time what is due now; ``state`` is that of the dialogue, if it is known already."""
        now = self._loop.time()
        if state is None and self._client is not None:
            state = self._client.state
        if self._is_quitting:
            seconds = self._timeouts.quit
        elif self._is_write_paused:
            self._unwritten = self._unwritten_now
            seconds = self._timeouts.block
        elif self._idle_seconds is not None:
            seconds = self._idle_seconds
        elif self._waiter is None:
            seconds = self._timeouts.ehlo  # RSET
        else:
            assert state is not None
            seconds = self._limits[state]
        deadline = now + seconds
        self._timed_state = state
        # Once the content is out, its reply is waited for: breaking off then could only send the mail twice.
        limit = self._attempt_deadline
        if limit is not None and limit < deadline and (self._is_write_paused or state is not _MESSAGE):
            deadline = limit
        self._deadline = deadline
        if self._timer is None:
            self._arm(deadline)
        elif self._fires_at > deadline:
            self._timer.cancel()
            self._arm(deadline)

    def _arm(self, at: float) -> None:
        # Not asked of the handle: for an instant that is about to pass, uvloop gives one that does not know its own.
        self._timer = self._loop.call_at(at, self._on_timer)
        self._fires_at = at

    def _on_timer(self) -> None:
        self._timer = None
        if self.is_closed:
            return
        now = self._loop.time()
        if now < self._deadline:
            self._arm(self._deadline)
        elif self._is_write_paused and not self._is_quitting and self._makes_progress(now):
            self._move_deadline()
        elif self._waiter is not None and not self._waiter.done():
            waiter, self._waiter = self._waiter, None
            waiter.set_exception(self.blame(self._timed_out(now)))
            self.abort()
        elif self._idle_seconds is not None and not self._is_quitting:
            self.quit()
        else:
            self.abort()

    def _makes_progress(self, now: float) -> bool:
        """Whether the peer took octets since the deadline was last moved, and the attempt may go on."""
        has_time = self._attempt_deadline is None or now < self._attempt_deadline
        return has_time and self._unwritten_now < self._unwritten

    def _timed_out(self, now: float) -> TimedOut:
        state = self.client.state
        if self._attempt_deadline is not None and now >= self._attempt_deadline:
            # The time of the attempt is up, which says little about the host; no other one is tried.
            return TimedOut(state, Scope.SESSION, "the attempt took too long")
        return TimedOut(state, self._scope_of(state), "no reply in time")

    # --- what the pool and the pipeline call ----------------------------------------------------------------------

    async def start(self, client: SmtpClient, attempt_deadline: float) -> Event:
        """Begin the dialogue; returns the first :class:`Ready` or :class:`StartTls`.

        Args:
            client: The protocol, waiting for the greeting.
            attempt_deadline: Instant of the loop's clock at which the attempt of the message that opens has to end.

        Raises:
            DeliveryError: The host refused, broke off or was silent.
        """
        self._client = client
        self._attempt_deadline = attempt_deadline
        early, self._early = b"".join(self._early), []
        waiter = self._wait()
        if early:
            client.receive_data(early)
        if self.is_closed:
            client.receive_data(b"")  # closed before there was anybody to be told
        self._advance()
        try:
            return await self._expect(waiter)
        finally:
            self._attempt_deadline = None

    async def encrypt(
        self, start_tls: Callable[[asyncio.Transport], Awaitable[Secured]], attempt_deadline: float
    ) -> Secured:
        """Put TLS below the dialogue; whatever the peer said in clear for the time after it ends the session.

        Args:
            start_tls: Does the handshake and checks the certificate.
            attempt_deadline: Instant of the loop's clock at which the attempt of the message that opens has to end.

        Raises:
            DeliveryError: No protection of the degree demanded; state ``starttls``.
        """
        assert self._transport is not None
        state = DeliveryState.STARTTLS
        if self._timer is not None:
            self._timer.cancel()  # the dialogue stands still: the handshake has a limit of its own
            self._timer = None
        error = self._said_in_clear()
        if error is None:
            limit = self._loop.time() + self._timeouts.starttls
            try:
                async with asyncio.timeout_at(min(limit, attempt_deadline)):
                    self.secured = await start_tls(self._transport)
            except TimeoutError:
                scope = Scope.HOST if limit <= attempt_deadline else Scope.SESSION
                error = TimedOut(state, scope, "TLS handshake took too long")
            except TlsError as failure:
                error = _TLS_ERRORS[failure.kind](state, Scope.HOST, str(failure), cause=_TLS_CAUSES.get(failure.kind))
            else:
                self._transport = self.secured.transport
                return self.secured
        self.abort()
        raise self.blame(error)

    def _said_in_clear(self) -> DeliveryError | None:
        """What stands in the way of a handshake (RFC 3207 section 5, CVE-2011-0411 and its kin)."""
        event = self._unclaimed
        if isinstance(event, Broken | RefusedEvent | Closed):
            return self._error_of(event)
        if self._early:
            early = b"".join(self._early)
            return Unusable(DeliveryState.STARTTLS, Scope.HOST, "spoke in clear where TLS was due", received=early)
        return None

    async def resume(self, attempt_deadline: float) -> Event:
        """Go on with the dialogue after :meth:`encrypt`; returns :class:`Ready`.

        Raises:
            DeliveryError: As for :meth:`start`.
        """
        self._attempt_deadline = attempt_deadline
        waiter = self._wait()
        event = self._unclaimed
        if event is not None:
            waiter.set_result(event)  # it spoke first, or left
        elif self.is_closed:
            waiter.set_result(Closed())
        else:
            self.client.tls_established()
            self._advance()
        try:
            return await self._expect(waiter)
        finally:
            self._attempt_deadline = None

    async def transact(
        self,
        transaction: Transaction,
        attempt_deadline: float,
        load: Callable[[], Awaitable[bytes]] | None = None,
        before_content: BeforeContent | None = None,
    ) -> Reply:
        """Send one message; returns the final reply.

        Args:
            transaction: Envelope, parameters and content.
            attempt_deadline: Instant of the loop's clock at which the attempt has to end unless content is being sent.
            load: Brings the content if the transaction has none: asked once the recipient is accepted, and dropped
                when the peer speaks or leaves meanwhile. It has a time limit of its own, and raises ``DeliveryError``.
            before_content: Called right before content leaves; what it returns is waited for.

        Raises:
            DeliveryError: Whatever else happened.
            NotNowError: Too little time is left to send the content, or ``before_content`` raised it.
        """
        self._idle_seconds = None
        self._before_content = before_content
        self.has_answered = False
        client, is_ready = self.client, self.is_ready
        if is_ready:
            client.begin(transaction)
            self._content_octets = len(transaction.lead) + len(transaction.content or b"")
        self._attempt_deadline = attempt_deadline
        waiter = self._wait()
        if is_ready:
            self._advance()
        else:
            waiter.set_result(Closed())  # the peer left after the session was handed to this message
        try:
            event: Event = self._judge(await waiter)
            if load is not None and isinstance(event, RecipientAccepted):
                event = await self._send_loaded(load)
        finally:
            if self._waiter is waiter:
                self._waiter = None
            self._attempt_deadline = None
            self._before_content = None
            if is_ready and client.positive_reply_seen:
                self.has_answered = self.is_working = True
        assert isinstance(event, Delivered)
        return event.reply

    async def _send_loaded(self, load: Callable[[], Awaitable[bytes]]) -> Event:
        """Load the content while watching the peer, and send it (spec delivery.md 12.3); returns what follows."""
        waiter = self._wait()
        if self._unclaimed is not None:
            waiter.set_result(self._unclaimed)  # it went on speaking, or left, right behind its agreement
            return await self._expect(waiter)
        self._move_deadline()
        loading = asyncio.ensure_future(load())
        try:
            await asyncio.wait((loading, waiter), return_when=asyncio.FIRST_COMPLETED)
            if waiter.done():
                return await self._expect(waiter)  # what the peer said or did comes before what the store says
            content = loading.result()
        except DeliveryError as error:
            if not waiter.done():
                self._waiter = None
                self.client.abandon()
                self._advance()
            raise self.blame(error) from None
        except BaseException:
            self._waiter = None
            raise
        finally:
            _drop(loading)
        self.client.provide_content(content)
        self._content_octets = len(content)
        self._advance()
        return await self._expect(waiter)

    def reset(self) -> bool:
        """Send the RSET that is owed after a refusal, if any is; the owner hears when the session is ready again."""
        if not self.client.owes_reset:
            return False
        self._idle_seconds = None
        self.client.reset()
        self._advance()
        return True

    def rest(self, seconds: float) -> None:
        """No message for now: keep the connection for ``seconds``, then QUIT."""
        self._idle_seconds = seconds
        self._move_deadline()

    def quit(self) -> None:
        """Say goodbye; the connection is closed when the peer answered or took too long."""
        if self.is_closed or self._is_quitting:
            return
        self._is_quitting = True
        if self._client is None or not self._client.is_ready:
            self.abort()
            return
        self._client.quit()
        self._advance()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None and not self.is_closed:
            self._transport.abort()
            self._unsent.clear()
            # The pool must not hand it out between now and connection_lost, which comes with the next loop turn.
            self._is_quitting = True

    # --- events as results ----------------------------------------------------------------------------------------

    def _wait(self) -> asyncio.Future[Event]:
        assert self._waiter is None, "two messages on one session"
        self._waiter = self._loop.create_future()
        return self._waiter

    async def _expect(self, waiter: asyncio.Future[Event]) -> Ready | StartTls | Delivered | RecipientAccepted:
        try:
            return self._judge(await waiter)
        finally:
            if self._waiter is waiter:
                self._waiter = None

    def _judge(self, event: Event) -> Ready | StartTls | Delivered | RecipientAccepted:
        """The event if it leads on; raises what anything else means."""
        if isinstance(event, _PROGRESS):
            return event
        if not (isinstance(event, RefusedEvent) and event.is_usable):
            self.abort()
        raise self.blame(self._error_of(event))

    def _error_of(self, event: RefusedEvent | Broken | Closed) -> DeliveryError:
        if isinstance(event, RefusedEvent):
            scope = Scope.HOST if event.state in _HOST_STATES or event.reply is None else Scope.MESSAGE
            if event.state in AUTH_STATES and event.reply is not None and event.reply.severity == 5:
                scope = Scope.DESTINATION  # trying the secret everywhere only locks the account (spec delivery.md 11)
            text = event.cause or "refused by the server"
            return Refused(event.state, scope, text, reply=event.reply, cause=event.cause)
        if isinstance(event, Closed):
            state = self.client.state
            return ConnectionLost(state, self._scope_of(state), "connection lost while a reply was awaited")
        scope = self._scope_of(event.state)
        if event.result is ResultType.LOST:
            return ConnectionLost(event.state, scope, "connection lost while a reply was awaited")
        return Unusable(event.state, scope, "not a usable reply", reply=event.reply, received=event.received)

    def _scope_of(self, state: DeliveryState) -> Scope:
        return Scope.HOST if state in _HOST_STATES or state in _UNTRANSFERRED else Scope.SESSION

    def details(self, *, is_accepted: bool = False) -> tuple[tuple[str, object], ...]:
        """Members of an extended result, in order (spec results.md 10)."""
        members: list[tuple[str, object]] = []
        client = self._client
        if client is not None and client.remote_mta is not None:
            members.append(("mta", client.remote_mta))
        if client is not None and is_accepted:
            members.append(("dsn", client.capabilities.dsn))
        if client is not None and client.authentication is not None:
            members.append(("authentication", client.authentication))
        if self.secured is not None:
            members += self.secured.details
        members.append(("sent", {"connection": self._sent, "data": self._sent_content}))
        return tuple(members)

    def blame(self, error: DeliveryError) -> DeliveryError:
        """Add what is known about the connection (spec results.md 5.1)."""
        error.details = self.details()
        error.egress_ip = self.egress_ip or None
        error.remote_ip = self.remote_ip or None
        error.ordinal = max(self.messages, 1)
        return error


def _drop(loading: asyncio.Future[bytes]) -> None:
    """Stop what still runs; what it ends with is of no interest any more."""
    loading.cancel()
    loading.add_done_callback(lambda done: done.cancelled() or done.exception())


def _plain_ip(address: tuple[str, int] | None) -> str:
    """Address part of a socket name; IPv4-mapped as IPv4."""
    if not address:
        return ""
    text = address[0]
    return text.removeprefix("::ffff:") if "." in text else text
