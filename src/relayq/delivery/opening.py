"""From a route to a session that is ready for its first message: bind, connect, greeting, EHLO, TLS, login."""

from __future__ import annotations

import asyncio

from relayq.delivery.lane import Lane
from relayq.delivery.names import EhloNames
from relayq.delivery.session import Session, SmtpTimeouts
from relayq.model import DeliveryState, Refused, Scope, TimedOut
from relayq.ports import BindError, ConnectError, Network, Observer
from relayq.smtp import SmtpClient, TlsMode


class SessionOpener:
    """Opens sessions for lanes."""

    def __init__(
        self,
        network: Network,
        names: EhloNames,
        timeouts: SmtpTimeouts,
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
        sink: tuple[str, int] | None = None,
    ) -> None:
        self._network = network
        self._names = names
        self._timeouts = timeouts
        self._limits = timeouts.by_state()
        self._observer = observer
        self._loop = loop
        self._sink = sink

    async def open(self, lane: Lane) -> Session:
        """A ready session for ``lane``.

        Raises:
            DeliveryError: With state ``bind``, ``connect``, ``intro`` … ``authresponse``.
            LocalShortageError: This host lacks ports, descriptors or memory.
        """
        session = await self._connect(lane)
        try:
            name = await self._names.name_for(session.egress_ip)
            await session.start(SmtpClient(ehlo_name=name, tls=TlsMode.NEVER))
        except BaseException:
            session.abort()
            raise
        self._observer.session_opened(str(lane.route))
        return session

    async def _connect(self, lane: Lane) -> Session:
        route = lane.route
        address, port = self._sink or (route.remote_ip, route.port)

        def make_session() -> Session:
            return Session(lane, self._limits, self._timeouts, self._loop)

        try:
            async with asyncio.timeout(self._timeouts.connect):
                _, session = await self._network.connect(make_session, address, port, route.egress_ip)
        except TimeoutError:
            text = f"no connection to {address} port {port} in time"
            raise TimedOut(DeliveryState.CONNECT, Scope.HOST, text) from None
        except ConnectError as error:
            raise Refused(DeliveryState.CONNECT, Scope.HOST, f"{address} port {port}: {error}") from None
        except BindError as error:
            raise Refused(DeliveryState.BIND, Scope.SESSION, str(error)) from None
        return session
