"""A connection that comes back: tries addresses in turn, waits longer each time, prepares what lives on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.dialer import Dialer
from relayq.adapters.rabbitmq.errors import (
    ChannelClosedError,
    ConnectionLostError,
    ConnectionRefusedByBrokerError,
)
from relayq.adapters.rabbitmq.options import Endpoint, RabbitMqOptions, Timings
from relayq.ports import BrokerRefusedError, BrokerUnavailableError, Clock, TopologyError

Log = Callable[[str, str], None]


class Backoff:
    """Waits between tries: a sequence whose last entry repeats, each spread by some percent."""

    def __init__(self, timings: Timings) -> None:
        self._timings = timings
        self._tries = 0

    def reset(self) -> None:
        """Start anew with the first wait."""
        self._tries = 0

    def next_wait(self) -> float:
        """Seconds to wait now."""
        waits, spread = self._timings.reconnect_waits, self._timings.reconnect_spread
        wait = waits[min(self._tries, len(waits) - 1)]
        self._tries += 1
        return wait * random.uniform(1 - spread, 1 + spread)


class RareLog:
    """Warnings about something that repeats: the first, then at most one per interval."""

    def __init__(self, clock: Clock, log: Log, interval: float) -> None:
        self._clock = clock
        self._log = log
        self._interval = interval
        self._last: float | None = None

    def __call__(self, text: str) -> None:
        """Log ``text``, unless something was logged lately."""
        now = self._clock.monotonic()
        if self._last is None or now - self._last >= self._interval:
            self._last = now
            self._log("warning", text)

    def reset(self) -> None:
        """The trouble is over: the next one is logged at once."""
        self._last = None


class Link:
    """Keeps one connection alive until `close`.

    ``prepare`` is awaited with every new connection before it counts as up; it may raise `TopologyError`,
    `BrokerRefusedError`, `ChannelClosedError` or `ConnectionLostError`.
    """

    def __init__(
        self,
        purpose: str,
        options: RabbitMqOptions,
        dialer: Dialer,
        prepare: Callable[[AmqpConnection], Awaitable[None]],
        clock: Clock,
        log: Log,
        on_gave_up: Callable[[BrokerUnavailableError], None] | None = None,
    ) -> None:
        self.connection: AmqpConnection | None = None
        self._on_gave_up = on_gave_up
        self._is_up = asyncio.Event()
        self._purpose = purpose
        self._options = options
        self._dialer = dialer
        self._prepare = prepare
        self._clock = clock
        self._log = log
        self._backoff = Backoff(options.timings)
        self._next_endpoint = 0
        self._refusals: dict[Endpoint, str] = {}
        self._complain = RareLog(clock, log, options.timings.retry_log_interval)
        self._keeper: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_up(self) -> bool:
        """There is a connection, and it was prepared."""
        return self._is_up.is_set()

    async def open(self) -> None:
        """Connect for the first time, and keep the connection alive from then on.

        Raises:
            BrokerRefusedError: Every address refused.
            TopologyError: A queue or exchange is not what is wanted.
            BrokerUnavailableError: Closed meanwhile, or not connected within the time limit of the options.
        """
        self._keeper = asyncio.create_task(self._run(), name=f"rabbitmq {self._purpose}")
        await asyncio.shield(self._opened)

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._options.time_limit):
                await self._connect_first()
        except TimeoutError:
            self._fail_opening(BrokerUnavailableError(self._unavailable_text()))
        except Exception as error:
            self._fail_opening(error)
        else:
            self._opened.set_result(None)
            await self._keep()

    def _fail_opening(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # whoever opens gets it; nobody may be left to wait

    async def _connect_first(self) -> None:
        while True:
            try:
                await self._try_connect()
            except (ConnectionLostError, ChannelClosedError) as error:
                self._note_refusal(error)
                if len(self._refusals) == len(set(self._options.endpoints)):
                    raise BrokerRefusedError("; ".join(self._refusals.values())) from None
                await self._wait(error)
            else:
                return

    async def _keep(self) -> None:
        while True:
            if self.connection is not None:
                await self._until_lost(self.connection)
            try:
                async with asyncio.timeout(self._options.time_limit):
                    await self._reconnect()
            except TimeoutError:
                self._log("error", self._unavailable_text())
                if self._on_gave_up is not None:
                    self._on_gave_up(BrokerUnavailableError(self._unavailable_text()))
                return
            except Exception as error:
                self._log("error", f"{self._purpose}: internal error while connecting: {error!r}")

    async def _until_lost(self, connection: AmqpConnection) -> None:
        connected_at = self._clock.monotonic()
        reason = await asyncio.shield(connection.lost)
        self.connection = None
        self._is_up.clear()
        self._log("warning", f"{self._purpose} connection lost: {reason}")
        if self._clock.monotonic() - connected_at >= self._options.timings.stable_after:
            self._backoff.reset()

    async def up(self) -> AmqpConnection:
        """The connection, once there is one."""
        while self.connection is None or self.connection.lost.done():
            self._is_up.clear()
            await self._is_up.wait()
        return self.connection

    async def _reconnect(self) -> None:
        await asyncio.sleep(self._backoff.next_wait())
        while True:
            try:
                await self._try_connect()
            except (ConnectionLostError, ChannelClosedError, BrokerRefusedError, TopologyError) as error:
                await self._wait(error)
            else:
                return

    async def _try_connect(self) -> None:
        endpoints = self._options.endpoints
        endpoint = endpoints[self._next_endpoint % len(endpoints)]
        self._next_endpoint += 1
        connection = await self._dialer.connect(endpoint, f"{self._options.connection_name} {self._purpose}")
        limit = self._options.timings.prepare_timeout
        try:
            async with asyncio.timeout(limit):
                await self._prepare(connection)
        except TimeoutError:
            connection.abort("gave up")
            raise ConnectionLostError(f"{endpoint} did not prepare the queues within {limit:g} s") from None
        except BaseException:
            connection.abort("gave up")
            raise
        self.connection = connection
        self._is_up.set()
        self._complain.reset()
        version = connection.server_properties.get("version", "")
        product = connection.server_properties.get("product", "broker")
        self._log("info", f"{self._purpose} connected to {endpoint} ({product} {version})")

    def _note_refusal(self, error: ConnectionLostError | ChannelClosedError) -> None:
        endpoint = self._options.endpoints[(self._next_endpoint - 1) % len(self._options.endpoints)]
        if isinstance(error, ConnectionRefusedByBrokerError):
            self._refusals[endpoint] = str(error)
        else:
            self._refusals.pop(endpoint, None)

    async def _wait(self, error: Exception) -> None:
        self._complain(f"{self._purpose} cannot connect: {error}; trying again")
        await asyncio.sleep(self._backoff.next_wait())

    def _unavailable_text(self) -> str:
        hosts = ", ".join(map(str, self._options.endpoints))
        return f"broker not reachable within {self._options.time_limit:g} s: {hosts}"

    async def close(self) -> None:
        """Stop reconnecting and end the connection in order."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
            self._keeper = None
            self._fail_opening(BrokerUnavailableError("closed before it was open"))
        if self.connection is not None:
            connection, self.connection = self.connection, None
            await connection.close(self._options.timings.close_timeout)
