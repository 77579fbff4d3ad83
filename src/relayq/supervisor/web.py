"""HTTP of the supervisor: health, readiness and metrics of the whole instance (spec operations.md 24).

Sockets are opened before privileges are given up and before a worker is started, so that a port in use ends the start.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from relayq.adapters.figures import CONTENT_TYPE, State
from relayq.supervisor.listening import BACKLOG, TokenFile, WebError, WebRules, is_local, listen, readiness, tls_context


class WebServer:
    """Listens on the configured ports."""

    def __init__(self, rules: WebRules) -> None:
        """Open the sockets; nobody is answered yet.

        Raises:
            WebError: A port or the certificate cannot be had.
        """
        self._rules = rules
        self._states: Callable[[], Sequence[State]]
        self._metrics: Callable[[], str]
        self._tokens = TokenFile(rules.tokens)
        self._tls = tls_context(rules)
        self._runner: web.AppRunner | None = None
        self._sockets: list[tuple[socket.socket, bool]] = []
        try:
            for address in rules.addresses:
                self._sockets += ((listen(address, port), False) for port in rules.ports)
                self._sockets += ((listen(address, port), True) for port in rules.secure_ports)
        except WebError:
            self._close_sockets()
            raise

    async def start(self, states: Callable[[], Sequence[State]], metrics: Callable[[], str]) -> None:
        """Answer.

        Args:
            states: What each worker is doing.
            metrics: The text for Prometheus.
        """
        self._states = states
        self._metrics = metrics
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 1024)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._show_metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=30.0)
        await self._runner.setup()
        for end, is_secure in self._sockets:
            await web.SockSite(self._runner, end, ssl_context=self._tls if is_secure else None, backlog=BACKLOG).start()

    def reconfigure(self, rules: WebRules) -> None:
        """Other rules from the next request on, another certificate from the next connection on; not other ports.

        Raises:
            WebError: The certificate cannot be used; nothing has changed then.
        """
        if self._tls is not None:
            tls_context(rules)  # tried on one that is in use nowhere
            assert rules.certificate is not None
            self._tls.load_cert_chain(rules.certificate, rules.private_key)
        if rules.tokens != self._rules.tokens:
            self._tokens = TokenFile(rules.tokens)
        self._rules = rules

    async def close(self) -> None:
        """Answer no more."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for end, _ in self._sockets:
            end.close()

    # --- answers ------------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Redirect to HTTPS where there is any, and refuse those that are too many."""
        if self._rules.secure_ports and not request.secure:
            host = request.url.host or self._rules.addresses[0]
            secure = request.url.with_scheme("https").with_host(host).with_port(self._rules.secure_ports[0])
            raise web.HTTPMovedPermanently(secure)
        assert self._runner is not None
        assert self._runner.server is not None
        if len(self._runner.server.connections) > self._rules.connections:
            refusal = web.Response(status=503, text="too many connections\n", headers={"Retry-After": "1"})
            refusal.force_close()
            return refusal
        return await handler(request)

    async def _health(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        del request
        is_ready, text = readiness(self._states())
        return web.Response(status=200 if is_ready else 503, text=f"{text}\n")

    async def _show_metrics(self, request: web.Request) -> web.Response:
        if not self._rules.has_metrics:
            raise web.HTTPNotFound(text="metrics are switched off\n")
        if not is_local(request.remote) and not self._tokens.accepts(request.headers.get("Authorization", "")):
            raise web.HTTPUnauthorized(
                text="metrics need a token, or a client on this host\n", headers={"WWW-Authenticate": "Bearer"}
            )
        response = web.Response(body=self._metrics().encode())
        response.headers["Content-Type"] = CONTENT_TYPE
        return response
