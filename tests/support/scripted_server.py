"""A server that plays fixed byte scripts: for dialogues no real SMTP server would ever have.

One script per connection, in the order of connections; the last one repeats. A script is a sequence of steps::

    async with ScriptedServer([*opening("PIPELINING"), Expect(b"MAIL"), Send(b"garbage"), Close()]) as server:
        await deliver_to(server.host, server.port)
    assert server.connections[0].received.endswith(b"QUIT")

After its last step a connection stays open and is read until the peer closes it. A step that fails (the peer sent
something else, or nothing within ``patience``) closes the connection, and leaving the ``async with`` block raises
:class:`ScriptFailed` with the whole transcript, unless ``strict`` is off. That the peer closes early is never a failure
of the script: look at ``connections``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from relayq.trial import ReceivedMessage, Sink, parse_script

PATIENCE = 90.0
RECEIVE_OCTETS = 65_536
MAX_RECEIVED_OCTETS = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Expect:
    """Read until ``pattern`` (DOTALL, searched from the first unconsumed octet) matches; consumes up to its end."""

    pattern: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Send octets in one piece."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Trickle:
    """Send octets one by one, ``interval`` seconds apart (0: one loop turn, still one segment each)."""

    octets: bytes
    interval: float = 0.0


@dataclass(frozen=True, slots=True)
class Flood:
    """Send ``octets`` over and over, ``times`` times, as fast as the peer takes them."""

    octets: bytes
    times: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Let the test decide when to go on: sets ``reached`` of the connection, waits for ``event``."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class StartTls:
    """Become the server side of a TLS handshake. A failed handshake ends the script quietly."""

    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Stall:
    """Read and never answer again."""


@dataclass(frozen=True, slots=True)
class StopReading:
    """Neither answer nor read again, so that the peer's buffers fill up."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close in order (FIN)."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Abort (RST)."""


Step = Expect | Send | Trickle | Flood | Wait | StartTls | Stall | StopReading | Close | Reset


class ScriptFailed(AssertionError):
    """A peer did not do what a script expects."""


@dataclass(slots=True)
class ScriptedConnection:
    """What happened on one connection.

    Attributes:
        received: Every octet of the peer so far, TLS removed.
        sent: Every octet sent so far.
        reached: Set when a ``Wait`` step begins.
        ended: Set when the connection is over, whoever ended it.
        peer_closed: The peer closed or reset it.
        problem: Why the script failed.
    """

    peer: tuple[str, int]
    received: bytearray = field(default_factory=bytearray)
    sent: bytearray = field(default_factory=bytearray)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    peer_closed: bool = False
    problem: str | None = None


class ScriptedServer:
    """Plays ``scripts`` on a loopback address and a free port (or ``port``)."""

    def __init__(
        self,
        *scripts: Sequence[Step],
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        patience: float = PATIENCE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.connections: list[ScriptedConnection] = []
        self._scripts = scripts or ((),)
        self._strict = strict
        self._patience = patience
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Condition()

    @property
    def count(self) -> int:
        """Connections accepted so far."""
        return len(self.connections)

    async def connection(self, index: int) -> ScriptedConnection:
        """Wait for the connection with that index."""
        async with asyncio.timeout(self._patience), self._arrival:
            await self._arrival.wait_for(lambda: len(self.connections) > index)
        return self.connections[index]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accepted, self.host, self.port, limit=MAX_RECEIVED_OCTETS, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        problems = [connection for connection in self.connections if connection.problem]
        if problems and self._strict and error is None:
            raise ScriptFailed("\n".join(map(_describe, problems)))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = ScriptedConnection(writer.get_extra_info("peername")[:2])
        script = self._scripts[min(len(self.connections), len(self._scripts) - 1)]
        async with self._arrival:
            self.connections.append(connection)
            self._arrival.notify_all()
        try:
            await _Player(connection, reader, writer, self._patience).play(script)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            connection.peer_closed = True
        except ScriptFailed as failure:
            connection.problem = str(failure)
        finally:
            connection.ended.set()
            self._tasks.discard(task)
            writer.transport.abort()


class _Player:
    """Plays one script on one connection."""

    def __init__(
        self,
        connection: ScriptedConnection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        patience: float,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._writer = writer
        self._patience = patience
        self._consumed = 0
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def play(self, script: Sequence[Step]) -> None:
        for step in script:
            if not await self._step(step):
                return
        await self._read_to_end()

    async def _step(self, step: Step) -> bool:
        """Do one step; False when it was the last thing to do on this connection."""
        match step:
            case Expect():
                await self._expect(step.pattern)
            case Send():
                await self._send(step.octets)
            case Trickle():
                for octet in step.octets:
                    await self._send(bytes((octet,)))
                    await asyncio.sleep(step.interval)
            case Flood():
                for _ in range(step.times):
                    await self._send(step.octets)
            case Wait():
                self._connection.reached.set()
                await step.event.wait()
            case StartTls():
                await self._writer.start_tls(step.context)
            case Stall():
                await self._read_to_end()
                return False
            case StopReading():
                self._writer.transport.pause_reading()  # type: ignore[attr-defined]
                await asyncio.Event().wait()
            case Close():
                await self._close()
                return False
            case Reset():
                self._reset()
                return False
        return True

    async def _expect(self, pattern: bytes) -> None:
        compiled = re.compile(pattern, re.DOTALL)
        received = self._connection.received
        try:
            async with asyncio.timeout(self._patience):
                while (match := compiled.search(received, self._consumed)) is None:
                    if not await self._read():
                        raise ConnectionResetError
        except TimeoutError:
            rest = bytes(received[self._consumed :])
            raise ScriptFailed(f"expected {pattern!r} within {self._patience:g} s, got {rest!r}") from None
        self._consumed = match.end()

    async def _read(self) -> bool:
        octets = await self._reader.read(RECEIVE_OCTETS)
        self._connection.received += octets
        if len(self._connection.received) > MAX_RECEIVED_OCTETS:
            raise ScriptFailed("the peer sends without end")
        if not octets:
            self._connection.peer_closed = True
        return bool(octets)

    async def _read_to_end(self) -> None:
        while await self._read():
            pass

    async def _send(self, octets: bytes) -> None:
        self._writer.write(octets)
        self._connection.sent += octets
        await self._writer.drain()

    async def _close(self) -> None:
        self._writer.close()
        # The peer may have been faster, or leave a TLS shutdown unanswered: closed is closed.
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    def _reset(self) -> None:
        plain: socket.socket = self._writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def _describe(connection: ScriptedConnection) -> str:
    return (
        f"connection from {connection.peer[0]}:{connection.peer[1]}: {connection.problem}\n"
        f"  sent: {bytes(connection.sent)!r}\n  received: {bytes(connection.received)!r}"
    )


# Fragments of ordinary dialogues, to put in front of the step that is the point of a test.


def greeting(text: str = "220 mx.test ESMTP") -> list[Step]:
    """Greet."""
    return [Send(text.encode() + b"\r\n")]


def ehlo(*extensions: str) -> list[Step]:
    """Answer EHLO with extensions."""
    lines = ["mx.test", *extensions]
    reply = "".join(f"250{' ' if at == len(lines) - 1 else '-'}{line}\r\n" for at, line in enumerate(lines))
    return [Expect(rb"EHLO [^\r\n]+\r\n"), Send(reply.encode())]


def mailfrom(reply: str = "250 2.1.0 ok") -> list[Step]:
    """Answer MAIL FROM."""
    return [Expect(rb"MAIL FROM:<[^\r\n]*>[^\r\n]*\r\n"), Send(reply.encode() + b"\r\n")]


def rcptto(reply: str = "250 2.1.5 ok") -> list[Step]:
    """Answer RCPT TO."""
    return [Expect(rb"RCPT TO:<[^\r\n]*>[^\r\n]*\r\n"), Send(reply.encode() + b"\r\n")]


def data(reply: str = "354 go ahead") -> list[Step]:
    """Answer DATA."""
    return [Expect(rb"DATA\r\n"), Send(reply.encode() + b"\r\n")]


def message(reply: str = "250 2.0.0 queued") -> list[Step]:
    """Take content up to the final dot and answer."""
    return [Expect(rb"\r\n\.\r\n"), Send(reply.encode() + b"\r\n")]


def transaction() -> list[Step]:
    """Accept one message."""
    return [*mailfrom(), *rcptto(), *data(), *message()]


def quit_session() -> list[Step]:
    """Answer QUIT and close."""
    return [Expect(rb"QUIT\r\n"), Send(b"221 2.0.0 bye\r\n"), Close()]


def opening(*extensions: str) -> list[Step]:
    """Greeting and EHLO."""
    return [*greeting(), *ehlo(*extensions)]


class RecordingSink:
    """The product's own sink with a script and a memory: for engine tests that need a server that works.

    Attributes:
        messages: What was received completely, in that order, refused contents included.
    """

    def __init__(self, script: str = "", **options: Any) -> None:
        self.messages: list[ReceivedMessage] = []
        self._arrived = asyncio.Event()
        self.sink = Sink(script=parse_script(script), on_message=self._record, **options)

    @property
    def host(self) -> str:
        """Where it listens."""
        return self.sink.host

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.sink.port

    async def wait_for(self, count: int) -> list[ReceivedMessage]:
        """Wait until so many messages were received."""
        async with asyncio.timeout(PATIENCE):
            while len(self.messages) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.messages

    def _record(self, message: ReceivedMessage) -> None:
        self.messages.append(message)
        self._arrived.set()

    async def __aenter__(self) -> Self:
        await self.sink.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.sink.close()
