"""From a route to a session that is ready for its first message: bind, connect, greeting, EHLO, TLS, login."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable

import msgspec

from relayq.delivery.lane import Lane, Route
from relayq.delivery.names import EhloNames
from relayq.delivery.session import Session, SmtpTimeouts
from relayq.delivery.terms import Sink
from relayq.model import DeliveryError, DeliveryState, Refused, Scope, TimedOut
from relayq.policy.tls import SUBMISSIONS_PORT, ClearMemory, PolicySource, SecurityLevel, TlsDemand, report_type
from relayq.ports import BindError, ConnectError, LocalShortageError, Network, Observer, Secured
from relayq.smtp import SmtpClient, StartTls, TlsMode

WARN_SECONDS = 60.0
"""A shortage concerns every connection alike: once a minute is enough."""


class DialogueRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of every dialogue.

    Attributes:
        allow_clear_auth: Passwords may travel without TLS (``auth-plaintext``).
        use_bdat: Send content in chunks where that is announced (``smtp-bdat``).
        sink: Where every connection goes instead.
    """

    allow_clear_auth: bool = False
    use_bdat: bool = False
    sink: Sink | None = None


class SinkNotFoundError(Exception):
    """The name of the sink has no address; says why."""


class SessionOpener:
    """Opens sessions for lanes."""

    def __init__(
        self,
        network: Network,
        names: EhloNames,
        timeouts: SmtpTimeouts,
        loop: asyncio.AbstractEventLoop,
        rules: DialogueRules,
        observer: Observer,
    ) -> None:
        self._network = network
        self._names = names
        self._timeouts = timeouts
        self._limits = timeouts.by_state()
        self._loop = loop
        self._rules = rules
        self._observer = observer
        self._clear = ClearMemory()
        self._silent_until = 0.0
        self._sink_address = rules.sink.address if rules.sink is not None else ""

    def reconfigure(self, timeouts: SmtpTimeouts, rules: DialogueRules) -> None:
        """Other rules from the next session on; the sink stays."""
        self._timeouts = timeouts
        self._limits = timeouts.by_state()
        self._rules = rules

    async def find_sink(self) -> None:
        """Look the name of the sink up; what was found is used as long as the process lives (spec delivery.md 6).

        Raises:
            SinkNotFoundError: It has no address.
        """
        sink = self._rules.sink
        if sink is None:
            return
        try:
            found = await self._loop.getaddrinfo(sink.address, sink.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise SinkNotFoundError(f"smtp-sink-address: {sink.address}: {error}") from None
        self._sink_address = str(found[0][4][0])

    async def open(self, lane: Lane, deadline: float, demand: TlsDemand) -> Session:
        """A ready session for ``lane``.

        Where TLS is not insisted on and does not work, the same address is tried once more without it, and remembered
        (spec delivery.md 10).

        Args:
            lane: Where to, and who keeps the session afterwards.
            deadline: Instant of the loop's clock at which the attempt of the message that opens it has to end.
            demand: What has to be shown.

        Raises:
            DeliveryError: With state ``bind``, ``connect``, ``intro`` … ``authresponse``.
            LocalShortageError: This host lacks ports, descriptors or memory.
        """
        mode = self._tls_mode(lane.route)
        try:
            return await self._open(lane, deadline, demand, mode)
        except LocalShortageError as error:
            self._tell_of_shortage(str(error))
            raise
        except DeliveryError as error:
            if error.state is DeliveryState.STARTTLS and demand.source is not PolicySource.NOBODY:
                kind = report_type(demand.source, error.cause)
                self._observer.tls_failed(demand.domain, demand.host, demand.source.value, kind)
            if mode not in _CAN_DO_WITHOUT or error.state is not DeliveryState.STARTTLS:
                raise
            if error.scope is not Scope.HOST:
                raise  # the time of the attempt is up
        self._clear.remember(self._endpoint(lane.route), self._loop.time())
        return await self._open(lane, deadline, demand, TlsMode.FORBIDDEN)

    def _tell_of_shortage(self, reason: str) -> None:
        """Mail waits without an attempt or a result, so the log is the only place that tells why."""
        if self._loop.time() >= self._silent_until:
            self._silent_until = self._loop.time() + WARN_SECONDS
            self._observer.warn("connections", f"no connection can be opened: {reason}; mail waits until one can")

    def _endpoint(self, route: Route) -> tuple[str, int]:
        """What is really connected."""
        sink = self._rules.sink
        return (route.remote_ip, route.port) if sink is None else (self._sink_address, sink.port)

    def _tls_mode(self, route: Route) -> TlsMode:
        endpoint = self._endpoint(route)
        if endpoint[1] == SUBMISSIONS_PORT:
            return TlsMode.IMMEDIATE
        if route.tls.level >= SecurityLevel.REQUIRED:
            return TlsMode.REQUIRED
        if self._clear.is_known(endpoint, self._loop.time()):
            return TlsMode.FORBIDDEN
        return TlsMode.NEVER if route.tls.level is SecurityLevel.OPTIONAL else TlsMode.OPPORTUNISTIC

    async def _open(self, lane: Lane, deadline: float, demand: TlsDemand, mode: TlsMode) -> Session:
        session = await self._connect(lane, deadline)

        def start_tls(transport: asyncio.Transport) -> Awaitable[Secured]:
            return self._network.start_tls(transport, session, demand)

        try:
            if mode is TlsMode.IMMEDIATE:
                await session.encrypt(start_tls, deadline)
            event = await session.start(await self._client(session, lane.route, mode), deadline)
            if isinstance(event, StartTls):
                await session.encrypt(start_tls, deadline)
                await session.resume(deadline)
        except BaseException:
            session.abort()
            raise
        if session.secured is not None and session.secured.matched_name is not None:
            session.is_exclusive = session.secured.matched_name != demand.host
        return session

    async def _client(self, session: Session, route: Route, mode: TlsMode) -> SmtpClient:
        return SmtpClient(
            ehlo_name=await self._names.name_for(session.egress_ip),
            tls=mode,
            credentials=route.credentials,
            allow_clear_auth=self._rules.allow_clear_auth,
            use_bdat=self._rules.use_bdat,
            defers_reset=True,
        )

    async def _connect(self, lane: Lane, deadline: float) -> Session:
        route = lane.route
        address, port = self._endpoint(route)

        def make_session() -> Session:
            return Session(lane, self._limits, self._timeouts, self._loop)

        limit = self._loop.time() + self._timeouts.connect
        error: DeliveryError
        try:
            async with asyncio.timeout_at(min(limit, deadline)):
                _, session = await self._network.connect(make_session, address, port, route.egress_ip)
        except TimeoutError:
            text = f"no connection to {address} port {port} in time"
            scope = Scope.HOST if limit <= deadline else Scope.SESSION
            error = TimedOut(DeliveryState.CONNECT, scope, text)
        except ConnectError as failure:
            error = Refused(DeliveryState.CONNECT, Scope.HOST, f"{address} port {port}: {failure}")
        except BindError as failure:
            raise Refused(DeliveryState.BIND, Scope.SESSION, str(failure)) from None
        else:
            # A peer that is gone already has no name any more.
            session.remote_ip = session.remote_ip or route.remote_ip
            return session
        error.attempted = (route.egress_ip, address)
        raise error


_CAN_DO_WITHOUT = (TlsMode.OPPORTUNISTIC, TlsMode.NEVER)
