"""From a route to a session that is ready for its first message: bind, connect, greeting, EHLO, TLS, login."""

from __future__ import annotations

import asyncio

from relayq.delivery.lane import Lane
from relayq.delivery.names import EhloNames
from relayq.delivery.session import Session, SmtpTimeouts
from relayq.model import DeliveryError, DeliveryState, Refused, Scope, TimedOut
from relayq.ports import BindError, ConnectError, Network
from relayq.smtp import SmtpClient, TlsMode


class SessionOpener:
    """Opens sessions for lanes."""

    def __init__(
        self,
        network: Network,
        names: EhloNames,
        timeouts: SmtpTimeouts,
        loop: asyncio.AbstractEventLoop,
        sink: tuple[str, int] | None = None,
    ) -> None:
        self._network = network
        self._names = names
        self._timeouts = timeouts
        self._limits = timeouts.by_state()
        self._loop = loop
        self._sink = sink

    async def open(self, lane: Lane, deadline: float) -> Session:
        """A ready session for ``lane``.

        Args:
            lane: Where to, and who keeps the session afterwards.
            deadline: Instant of the loop's clock at which the attempt of the message that opens it has to end.

        Raises:
            DeliveryError: With state ``bind``, ``connect``, ``intro`` … ``authresponse``.
            LocalShortageError: This host lacks ports, descriptors or memory.
        """
        session = await self._connect(lane, deadline)
        try:
            name = await self._names.name_for(session.egress_ip)
            await session.start(SmtpClient(ehlo_name=name, tls=TlsMode.NEVER), deadline)
        except BaseException:
            session.abort()
            raise
        return session

    async def _connect(self, lane: Lane, deadline: float) -> Session:
        route = lane.route
        address, port = self._sink or (route.remote_ip, route.port)

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
