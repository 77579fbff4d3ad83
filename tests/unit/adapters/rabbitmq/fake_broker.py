"""A small AMQP 0-9-1 server on loopback that does what a test tells it, with pamqp as an independent codec."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pamqp import base, body, commands, frame, header, heartbeat

from relayq.adapters.rabbitmq import Endpoint

PATIENCE = 90.0
M = TypeVar("M", bound=base.Frame)
PROPERTIES = {"product": "RabbitMQ", "version": "3.10.8"}


@dataclass
class Published:
    """A publish as it arrived; ``tag`` counts per channel, as confirms do."""

    channel: int
    tag: int
    exchange: str
    queue: str
    mandatory: bool
    properties: Any
    body: bytes


@dataclass
class Script:
    """What the server does by itself; tests change it.

    Attributes:
        refuse_login: Close code and text instead of ``connection.tune``.
        refuse_vhost: Close code and text instead of ``connection.open-ok``.
        refuse: By queue or exchange name, ``bind NAME`` or ``consume NAME``: close codes and texts of the next answers.
        unanswered: Such names that get no answer.
        counts: By queue name: messages in it, as a declaration is told.
        confirm: Publishes are confirmed at once.
        is_silent: Nothing is answered; every method goes to `FakeSession.answers`.
    """

    server_properties: dict[str, Any] = field(default_factory=lambda: dict(PROPERTIES))
    mechanisms: str = "AMQPLAIN PLAIN"
    frame_max: int = 131_072
    channel_max: int = 2047
    heartbeat: int = 60
    is_silent: bool = False
    refuse_login: tuple[int, str] | None = None
    refuse_vhost: tuple[int, str] | None = None
    refuse: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    confirm: bool = True


class FakeBroker:
    """Listens on a port of loopback; `sessions` gets every connection that logged in."""

    def __init__(self) -> None:
        self.script = Script()
        self.sessions: asyncio.Queue[FakeSession] = asyncio.Queue()
        self.all_sessions: list[FakeSession] = []
        self.attempts = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ssl: ssl.SSLContext | None = None
        self.port = 0

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        assert self._server is None, "started twice"
        self._ssl = tls or self._ssl
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._ssl)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in self.all_sessions:
            session.cut()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=PATIENCE)

    def endpoint(self, **options: Any) -> Endpoint:
        return Endpoint(**{"host": "127.0.0.1", "port": self.port, **options})

    async def session(self) -> FakeSession:
        """The next connection that logged in."""
        async with asyncio.timeout(PATIENCE):
            return await self.sessions.get()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.attempts += 1
        session = FakeSession(self, reader, writer)
        self.all_sessions.append(session)
        try:
            await session.run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            self._tasks.discard(task)


class FakeSession:
    """One connection."""

    def __init__(self, broker: FakeBroker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.broker = broker
        self.script = broker.script
        self.methods: list[tuple[int, base.Frame]] = []
        self.published: asyncio.Queue[Published] = asyncio.Queue()
        self.answers: asyncio.Queue[base.Frame] = asyncio.Queue()
        self.heartbeats = 0
        self.client_properties: dict[str, Any] = {}
        self.tune_ok: commands.Connection.TuneOk | None = None
        self.is_confirming = broker.script.confirm
        self._reader = reader
        self._writer = writer
        self._tags: dict[int, int] = {}
        self._delivery_tag = 0
        self._watchers: list[tuple[Callable[[], bool], asyncio.Event]] = []

    # Reading

    async def run(self) -> None:
        await self._reader.readexactly(8)
        self.send(0, commands.Connection.Start(0, 9, self.script.server_properties, self.script.mechanisms, "en_US"))
        while True:
            channel, value = await self._next()
            if isinstance(value, heartbeat.Heartbeat):
                self.heartbeats += 1
            elif isinstance(value, commands.Basic.Publish):
                await self._take_publish(channel, value)
            else:
                assert isinstance(value, base.Frame), value
                self.methods.append((channel, value))
                self._answer(channel, value)
            self._look()

    async def _next(self) -> tuple[int, Any]:
        head = await self._reader.readexactly(7)
        _, channel, size = struct.unpack(">BHI", head)
        _, _, value = frame.unmarshal(head + await self._reader.readexactly(size + 1))
        return channel, value

    async def _take_publish(self, channel: int, publish: commands.Basic.Publish) -> None:
        _, head = await self._next()
        assert isinstance(head, header.ContentHeader)
        octets = b""
        while len(octets) < (head.body_size or 0):
            _, part = await self._next()
            assert isinstance(part, body.ContentBody)
            octets += part.value
        tag = self._tags[channel] = self._tags.get(channel, 0) + 1
        published = Published(
            channel, tag, publish.exchange, publish.routing_key, publish.mandatory, head.properties, octets
        )
        self.published.put_nowait(published)
        if self.is_confirming:
            self.send(channel, commands.Basic.Ack(tag))

    def _answer(self, channel: int, method: base.Frame) -> None:
        if self.script.is_silent:
            self.answers.put_nowait(method)
            return
        simple: dict[type, Callable[[], base.Frame]] = {
            commands.Channel.Open: commands.Channel.OpenOk,
            commands.Channel.Close: commands.Channel.CloseOk,
            commands.Confirm.Select: commands.Confirm.SelectOk,
            commands.Basic.Qos: commands.Basic.QosOk,
            commands.Connection.Close: commands.Connection.CloseOk,
        }
        if type(method) in simple:
            self.send(channel, simple[type(method)]())
        elif isinstance(method, commands.Connection.StartOk):
            self._answer_login(method)
        elif isinstance(method, commands.Connection.TuneOk):
            self.tune_ok = method
        elif isinstance(method, commands.Connection.Open):
            self._answer_open()
        elif isinstance(method, commands.Queue.Declare):
            count = self.script.counts.get(method.queue, 0)
            self._answer_declare(channel, method.queue, commands.Queue.DeclareOk(method.queue, count, 0))
        elif isinstance(method, commands.Exchange.Declare):
            self._answer_declare(channel, method.exchange, commands.Exchange.DeclareOk())
        elif isinstance(method, commands.Queue.Bind):
            self._answer_declare(channel, f"bind {method.queue}", commands.Queue.BindOk())
        elif isinstance(method, commands.Basic.Consume):
            self._answer_declare(channel, f"consume {method.queue}", commands.Basic.ConsumeOk(method.consumer_tag))
        elif isinstance(method, commands.Basic.Cancel):
            self.send(channel, commands.Basic.CancelOk(method.consumer_tag))
        else:
            self.answers.put_nowait(method)

    def _answer_login(self, login: commands.Connection.StartOk) -> None:
        self.client_properties = dict(login.client_properties)
        if self.script.refuse_login is not None:
            self.close_connection(*self.script.refuse_login)
        else:
            script = self.script
            self.send(0, commands.Connection.Tune(script.channel_max, script.frame_max, script.heartbeat))

    def _answer_open(self) -> None:
        if self.script.refuse_vhost is not None:
            self.close_connection(*self.script.refuse_vhost)
            return
        self.send(0, commands.Connection.OpenOk())
        self.broker.sessions.put_nowait(self)

    def _answer_declare(self, channel: int, name: str, accepted: base.Frame) -> None:
        if name in self.script.unanswered:
            return
        refusals = self.script.refuse.get(name)
        if not refusals:
            self.send(channel, accepted)
            return
        code, text = refusals.pop(0)
        if code == 541:
            self.close_connection(code, text)
        else:
            self.close_channel(channel, code, text)

    # Writing

    def send(self, channel: int, method: base.Frame) -> None:
        if not self._writer.is_closing():
            self._writer.write(frame.marshal(method, channel))

    def send_raw(self, octets: bytes) -> None:
        self._writer.write(octets)

    def close_connection(self, code: int, text: str) -> None:
        self.send(0, commands.Connection.Close(code, text, 0, 0))

    def close_channel(self, channel: int, code: int, text: str) -> None:
        self.send(channel, commands.Channel.Close(code, text, 0, 0))

    def cut(self) -> None:
        """End the connection without a word."""
        self._writer.transport.abort()

    def deliver(self, octets: bytes, *, redelivered: bool = False, queue: str = "outbox", **properties: Any) -> int:
        """Hand a message to the last consumer of ``queue``; its delivery tag."""
        channel, consume = [(c, m) for c, m in self.of(commands.Basic.Consume) if m.queue == queue][-1]
        self._delivery_tag += 1
        method = commands.Basic.Deliver(consume.consumer_tag, self._delivery_tag, redelivered, "", queue)
        self._content(channel, method, octets, commands.Basic.Properties(**properties))
        return self._delivery_tag

    def give_back(self, published: Published, code: int = 312, text: str = "NO_ROUTE") -> None:
        """``basic.return`` of a publish."""
        method = commands.Basic.Return(code, text, published.exchange, published.queue)
        self._content(published.channel, method, published.body, published.properties)

    def _content(self, channel: int, method: base.Frame, octets: bytes, properties: Any) -> None:
        self.send(channel, method)
        head = header.ContentHeader(0, len(octets), properties)
        self._writer.write(frame.marshal(head, channel))
        if octets:
            self._writer.write(frame.marshal(body.ContentBody(octets), channel))

    # What a test waits for

    def of(self, kind: type[M]) -> list[tuple[int, M]]:
        """Methods of a kind with their channels, oldest first."""
        return [(channel, method) for channel, method in self.methods if isinstance(method, kind)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something received makes ``condition`` true."""
        event = asyncio.Event()
        self._watchers.append((condition, event))
        self._look()
        async with asyncio.timeout(PATIENCE):
            await event.wait()

    def _look(self) -> None:
        for condition, event in self._watchers:
            if condition():
                event.set()
        self._watchers = [(condition, event) for condition, event in self._watchers if not event.is_set()]

    async def next_published(self) -> Published:
        async with asyncio.timeout(PATIENCE):
            return await self.published.get()

    def all_published(self) -> list[Published]:
        """Everything published that no test has taken yet."""
        return [self.published.get_nowait() for _ in range(self.published.qsize())]

    async def next_answer(self, kind: type[M]) -> M:
        """The next method that is neither a request nor a publish: acks, nacks, flow-ok, close-ok."""
        async with asyncio.timeout(PATIENCE):
            answer = await self.answers.get()
        assert isinstance(answer, kind), answer
        return answer

    def declared(self) -> list[commands.Queue.Declare]:
        return [method for _, method in self.of(commands.Queue.Declare)]


@contextlib.asynccontextmanager
async def running_broker(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeBroker]:
    """A fake broker that listens."""
    broker = FakeBroker()
    await broker.start(tls)
    try:
        yield broker
    finally:
        await broker.stop()


@contextlib.asynccontextmanager
async def greeting_server(greeting: bytes) -> AsyncIterator[Endpoint]:
    """A server that says one thing and then only listens."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writer.write(greeting)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    server.close()
    if tasks:
        await asyncio.wait(tuple(tasks), timeout=PATIENCE)
