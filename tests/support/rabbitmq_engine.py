"""A worker in the test's own process on a real RabbitMQ: its own virtual host, memory resolver, real sockets.

::

    async with RabbitMqEngine(node, "retry-interval=1") as engine:
        await engine.sink()
        await engine.send(mail("m1"))
        assert (await engine.results("success", 1))[0]["id"] == "m1"
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import MemoryResolver, RecordingListener, RecordingObserver
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqInspector, RabbitMqOptions
from relayq.app import Worker, World
from relayq.ports import MessageStore, OutboxItem, Properties, Publication, QueueRole
from relayq.trial import ReceivedMessage, Sink, parse_script
from tests.support.engine import DOMAIN, OUTBOX, PATIENCE, eventually, settings_for
from tests.support.ports import free_port
from tests.support.scripted_server import ScriptedServer, Step
from tests.support.servers import RabbitMqNode


class RabbitMqEngine:
    """One worker, started and stopped at will, and a second connection that sends and reads.

    Attributes:
        url: Address of the virtual host.
        port: Where all mail hosts listen.
        observer: What the worker reported.
        lines: What its broker logged: level and text.
        worker: Itself, while it runs.
    """

    def __init__(
        self,
        node: RabbitMqNode,
        *options: str,
        tweaks: dict[str, Any] | None = None,
        store: MessageStore | None = None,
        user: str = "",
        is_started: bool = True,
    ) -> None:
        """Nothing runs yet.

        Args:
            node: The broker.
            options: Settings as ``key=value``, on top of the usual ones.
            tweaks: Values the configuration would refuse, by ``record.field``.
            store: Where bodies are kept.
            user: ``name:password`` the worker logs in with, instead of the usual one.
            is_started: Start the worker when the block is entered.
        """
        self.node = node
        self.url = node.new_vhost()
        parts = urlsplit(self.url)
        self.vhost = parts.path[1:]
        self._endpoint = Endpoint(host=parts.hostname or "", port=parts.port or 0, vhost=self.vhost)
        self.port = free_port("127.0.0.1", "127.0.0.2")
        address = self.url if not user else f"amqp://{user}@{parts.hostname}:{parts.port}/{self.vhost}"
        self._settings = settings_for(self.port, (f"rabbitmq-address={address}", *options), tweaks or {})
        self._store = store
        self._is_started = is_started
        self._stack = AsyncExitStack()
        self._side: RabbitMqBroker
        self.observer = RecordingObserver()
        self.lines: list[tuple[str, str]] = []
        self.resolver = MemoryResolver(SystemClock())
        self.route(DOMAIN, "127.0.0.1")
        self.worker: Worker

    def route(self, domain: str, address: str) -> None:
        """Give a domain one mail host."""
        self.resolver.set_mx(domain, [(10, f"mx.{domain}")])
        self.resolver.set_addresses(f"mx.{domain}", address)

    async def serve(self, *scripts: Sequence[Step], address: str = "127.0.0.1") -> ScriptedServer:
        """A scripted mail host; it lives as long as the engine."""
        return await self._stack.enter_async_context(ScriptedServer(*scripts, host=address, port=self.port))

    async def sink(
        self, script: str = "", address: str = "127.0.0.1", on_message: Callable[[ReceivedMessage], None] | None = None
    ) -> Sink:
        """A mail host that does what ``script`` says; it lives as long as the engine."""
        sink = Sink(address, self.port, script=parse_script(script), on_message=on_message)
        return await self._stack.enter_async_context(sink)

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        options = RabbitMqOptions(endpoints=(self._endpoint,), prepare=False, throttle=1000)
        self._side = RabbitMqBroker(options, RecordingListener(), SystemClock(), lambda _level, _text: None)
        await self._side.open()
        if self._is_started:
            await self.start()
        return self

    async def start(self) -> None:
        """Start a worker."""
        self.worker = Worker(
            self._settings,
            observer=self.observer,
            world=World(resolver=self.resolver, store=self._store),
            log=lambda level, text: self.lines.append((level, text)),
        )
        async with asyncio.timeout(60):
            await self.worker.start()

    async def stop(self) -> None:
        """Stop it in order."""
        async with asyncio.timeout(60):
            await self.worker.stop()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if hasattr(self, "worker"):
                await self.stop()
            await self._side.close()
            if error is None:
                assert not self.observer.crashes, self.observer.crashes
        finally:
            await self._stack.aclose()

    # --- the broker -------------------------------------------------------------------------------------------------

    async def send(
        self, *messages: dict[str, Any] | bytes, queue: str = OUTBOX, properties: Properties | None = None
    ) -> None:
        """Publish; octets go out as they are, under the encoding that ``properties`` name."""
        publications = [
            Publication(
                queue=queue,
                body=message if isinstance(message, bytes) else json.dumps(message).encode(),
                properties=properties or Properties(),
                role=QueueRole.RESULT,
                is_verbatim=True,
            )
            for message in messages
        ]
        async with asyncio.timeout(PATIENCE):
            await self._side.publish(publications)

    async def items(self, queue: str, count: int, patience: float = 60.0) -> list[OutboxItem]:
        """The next so many messages of a queue, which they leave."""
        found: list[OutboxItem] = []
        consumption = await self._side.consume(queue, count, found.append)
        try:
            await eventually(lambda: len(found) >= count, f"{count} messages in {queue}, so far {len(found)}", patience)
        finally:
            await consumption.cancel()
        for item in found:
            await self._side.settle(item, ())
        return found

    async def results(self, queue: str, count: int, patience: float = 60.0) -> list[dict[str, Any]]:
        """The same, decoded."""
        return [decoded(item) for item in await self.items(queue, count, patience)]

    async def ready(self, *queues: str) -> tuple[int, ...]:
        """Messages in each queue that are not handed out; 0 for one that does not exist."""
        options = RabbitMqOptions(endpoints=(self._endpoint,), prepare=False, time_limit=10)
        inspector = RabbitMqInspector(options, SystemClock(), lambda _level, _text: None)
        await inspector.open()
        try:
            states = await inspector.look(queues)
        finally:
            await inspector.close()
        return tuple(state.ready or 0 for state in states)

    async def until_ready(self, queue: str, count: int) -> None:
        """Wait until a queue has exactly so many messages that are not handed out."""
        async with asyncio.timeout(PATIENCE):
            while await self.ready(queue) != (count,):  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.05)

    async def until_at_least(self, queue: str, count: int) -> None:
        """Wait until a queue has so many messages, or more, that are not handed out."""
        async with asyncio.timeout(PATIENCE):
            while (await self.ready(queue))[0] < count:  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.05)

    async def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` beside the event loop."""
        return await asyncio.to_thread(self.node.rabbitmqctl, *arguments)


def decoded(item: OutboxItem) -> dict[str, Any]:
    """A result as its reader sees it."""
    body = gzip.decompress(item.body) if item.properties.content_encoding == "gzip" else item.body
    result: dict[str, Any] = json.loads(body)
    return result
