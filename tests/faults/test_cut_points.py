"""Real processes die at every step between pick-up and acknowledgement; the table says what becomes of the message."""

from __future__ import annotations

import asyncio
import json
import runpy
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions
from relayq.adapters.store import open_store
from relayq.config.store_address import parse_store_address
from relayq.model.timestamp import format_timestamp
from relayq.ports import Broker, OutboxItem, Properties, Publication, QueueRole
from relayq.trial import ReceivedMessage, Sink, parse_script
from tests.support.cut_points import (
    CUT_POINTS,
    EMBEDDED,
    OUTSTANDING,
    RABBITMQ,
    CutPoint,
    Story,
    Victim,
)
from tests.support.dying_worker import DyingWorker, Nursery
from tests.support.servers import RabbitMqNode

GENERATOR = Path(__file__).parents[2] / "scripts" / "generate_cut_points.py"
PATIENCE = 90.0
AT_ONCE = 14
"""Scenes at the same time: each has a process."""
MIME = "From: n@shop.test\r\nSubject: hello\r\n\r\nHello.\r\n"
SERVER = """
rcptto refused-* first=1 450 4.2.0 later
rcptto moved-* first=1 450 4.2.0 later
message deferred-* first=1 451 4.3.0 later
rcptto reported-* 550 5.1.1 no such user
"""
WAIT_SECONDS = 5
"""Long enough for a process to begin meanwhile."""
PROBE_SECONDS = 2
"""Every copy that waits for its retry comes back sooner."""


class Server:
    """The mail server of all scenes; it may do something between the content and its reply."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.contents: dict[str, bytes] = {}
        self.before_reply: dict[str, Callable[[], None]] = {}
        self.sink = Sink(on_message=self._take, script=parse_script(SERVER))

    def _take(self, message: ReceivedMessage) -> None:
        name = message.recipients[0].partition("@")[0]
        if message.code == 250:
            self.accepted[name] += 1
            self.contents[name] = message.content or b""
        act = self.before_reply.pop(name, None)
        if act is not None:
            act()


class Scene:
    """One message, one broker, and processes that die."""

    def __init__(
        self, cut: CutPoint, ident: str, folder: Path, server: Server, nursery: Nursery, node: RabbitMqNode | None
    ) -> None:
        self.cut = cut
        self.name = f"{cut.story.name.lower()}-{ident}".lower()
        self.folder = folder / self.name
        self.folder.mkdir()
        self.server = server
        self.results: list[dict[str, Any]] = []
        self.held: list[dict[str, Any]] = []
        self._bodies: list[bytes] = []
        self._nursery = nursery
        self._node = node
        self._broker: Broker
        self._changed = asyncio.Event()
        self._settling: set[asyncio.Future[None]] = set()
        self._lives = 0

    @property
    def _options(self) -> list[str]:
        address = f"embedded://{self.folder}/queues.db" if self._node is None else self._node.url
        options = [
            f"rabbitmq-address={address}", f"rabbitmq-outbox={self.name}", f"rabbitmq-results={self.name}.results",
            f"rabbitmq-qos={self._prefetch}", "rabbitmq-minqos=1", "hostname=mta.test", "smarthost=127.0.0.1",
            f"smarthost-port={self.server.sink.port}", "smtp-out-security=optional", "retry-interval=1",
            f"journal-directory={self.folder}/journal", "journal-sync=never",
        ]  # fmt: skip
        if self.cut.story in {Story.STORED, Story.MOVED}:
            options.append(f"storage-address={self._store}")
        if self.cut.story is Story.REPORTED:
            options.append(f"rabbitmq-dsn={self.name}")
        if self.cut.story is Story.HELD:
            options.append(f"rabbitmq-held={self.name}.held")
        return options

    @property
    def _prefetch(self) -> int:
        # A report comes back through the outbox. It waits there for the message that it is about: else it could be
        # on its way, and in doubt, when the process dies at a step of that message.
        return 1 if self.cut.story is Story.REPORTED else 10

    @property
    def _store(self) -> str:
        return f"dir://{self.folder}/bodies"

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        self._broker = self._make_broker()
        await self._broker.open()
        try:
            yield
        finally:
            await self._broker.close()

    def _make_broker(self) -> Broker:
        listener, clock = RecordingListener(), SystemClock()
        if self._node is None:
            options = EmbeddedOptions(path=str(self.folder / "queues.db"))
            return EmbeddedBroker(options, listener, clock, lambda *_: None)
        endpoint = Endpoint(host="127.0.0.1", port=self._node.port)
        return RabbitMqBroker(
            RabbitMqOptions(endpoints=(endpoint,), outbox=self.name, delay_intervals=(1,)), listener, clock,
            lambda *_: None,
        )  # fmt: skip

    async def _publish(self, **members: object) -> None:
        message = {
            "envelope": f"sender-{self.name}@example.test",
            "recipient": f"{self.name}@example.test",
            "mime": MIME,
            **members,
        }
        body = json.dumps(
            {name: value for name, value in message.items() if value is not None}, separators=(",", ":")
        ).encode()
        await self._broker.publish(
            [Publication(queue=self.name, body=body, properties=Properties(), role=QueueRole.OUTBOX)]
        )

    async def give_message(self) -> None:
        """Put the message into the outbox."""
        if self.cut.story is Story.STORED:
            store = open_store(parse_store_address(self._store))
            await store.save("body", MIME.encode(), datetime.now(UTC) + timedelta(days=1))
            await store.close()
            await self._publish(mime=None, key="body")
        elif self.cut.story is Story.WAITING:
            await self._publish(delayed=format_timestamp(datetime.now(UTC) + timedelta(seconds=WAIT_SECONDS)))
        else:
            await self._publish()

    async def start(self, place: str | None = None, *, freezes: bool = False) -> DyingWorker:
        """A life of relayq."""
        self._lives += 1
        return await self._nursery.start(
            self._options, self.folder / f"log{self._lives}.txt", place, freezes=freezes
        )  # fmt: skip

    async def die(self) -> None:
        """Up to the death of relayq."""
        if self.cut.place == OUTSTANDING:
            worker = await self.start()
            self.server.before_reply[self.name] = lambda: worker.send(signal.SIGKILL)
        else:
            worker = await self.start(self.cut.place)
        assert await worker.ended() == -signal.SIGKILL, worker.log

    async def freeze(self) -> DyingWorker:
        """Up to the step at which the broker dies."""
        if self.cut.place == OUTSTANDING:
            worker = await self.start()
            self.server.before_reply[self.name] = lambda: worker.send(signal.SIGSTOP)
        else:
            worker = await self.start(self.cut.place, freezes=True)
        await worker.frozen()
        return worker

    async def play(self) -> None:
        """Relayq dies, and lives again until everything is done."""
        async with self._connected():
            await self.give_message()
            await self.die()
            worker = await self.start()
            await self.finish(worker)

    async def finish(self, worker: DyingWorker) -> None:
        """Wait until the message has its result, and then for whatever may still come."""
        for queue, found in ((f"{self.name}.results", self.results), (f"{self.name}.held", self.held)):
            if queue.endswith("results") or self.cut.is_held:
                await self._broker.consume(queue, 10, lambda item, found=found: self._take(item, found))  # type: ignore[misc]
        await self._until(lambda: bool(self.held if self.cut.is_held else self.results), worker)
        if self.cut.story is Story.REPORTED:
            # Its result may be from before the death; the report may be a new one, behind a probe that came too soon.
            await self._until(lambda: self._has_result(self._counted), worker)
        due_at = datetime.now(UTC) + timedelta(seconds=PROBE_SECONDS)
        await self._publish(recipient="probe@example.test", delayed=format_timestamp(due_at))
        await self._until(lambda: self._has_result("probe"), worker)
        assert await worker.stop() == 0, worker.log

    def _has_result(self, name: str) -> bool:
        return any(result["recipient"].startswith(name) for result in self.results)

    def _take(self, item: OutboxItem, found: list[dict[str, Any]]) -> None:
        found.append(json.loads(item.body))
        self._bodies.append(item.body)
        settled = asyncio.ensure_future(self._broker.settle(item, ()))
        self._settling.add(settled)
        settled.add_done_callback(self._settling.discard)
        self._changed.set()

    async def _until(self, condition: Callable[[], bool], worker: DyingWorker) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            text = f"{self.name} at {self.cut.place!r} never came to an end; results: {self.results}, held: {self.held}"
            raise AssertionError(f"{text}:\n{worker.log}") from None

    @property
    def _counted(self) -> str:
        """Whose mails count."""
        return f"sender-{self.name}" if self.cut.story is Story.REPORTED else self.name

    @property
    def seen(self) -> dict[str, object]:
        """What became of it, to be compared with the table."""
        own = [result for result in self.results if result["recipient"].startswith(self.name)]
        entries = [entry for result in own for entry in result["results"]]
        return {
            "sent": self.server.accepted[self._counted],
            "is_marked": any(entry.get("possible-duplicate", False) for entry in entries),
            "results": len(own),
            "is_held": len(self.held) == 1 and self.held[0]["possible-duplicate"] is True,
        }

    def check(self) -> list[str]:
        """What differs from the table; empty if nothing does."""
        wrong = []
        for name, value in self.seen.items():
            wanted = getattr(self.cut, name)
            if value not in wanted if isinstance(wanted, tuple) else value != wanted:
                wrong.append(
                    f"{self.cut.victim.value} dies, {self.name}, {self.cut.when}: {name} is {value}, not {wanted}"
                )
        own = {body for body in self._bodies if b'"recipient":"%b@' % self.name.encode() in body}
        if len(own) > 1:
            wrong.append(f"{self.name}, {self.cut.when}: results differ: {own}")
        needle = b"5.1.1 no such user" if self.cut.story is Story.REPORTED else b"Hello."
        if needle not in self.server.contents.get(self._counted, b""):
            wrong.append(f"{self.name}, {self.cut.when}: lost")
        return wrong


@asynccontextmanager
async def _stage() -> AsyncIterator[tuple[Server, Nursery]]:
    server = Server()
    async with server.sink, Nursery() as nursery:
        yield server, nursery


def _check(scenes: list[Scene]) -> None:
    wrong = [line for scene in scenes for line in scene.check()]
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(300)
async def test_relayq_dies(rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    """Beside RabbitMQ, and together with the embedded broker."""
    nodes = {RABBITMQ: rabbitmq, EMBEDDED: None}
    turn = asyncio.Semaphore(AT_ONCE)
    async with _stage() as (server, nursery):
        scenes = [
            Scene(cut, f"{number}-{broker}", tmp_path, server, nursery, nodes[broker])
            for number, cut in enumerate(CUT_POINTS)
            for broker in cut.brokers
            if cut.victim is Victim.RELAYQ
        ]

        async def play(scene: Scene) -> None:
            async with turn:
                await scene.play()

        async with asyncio.TaskGroup() as group:
            for scene in scenes:
                group.create_task(play(scene))
    _check(scenes)


@pytest.mark.timeout(300)
async def test_rabbitmq_dies(own_rabbitmq: RabbitMqNode, tmp_path: Path) -> None:
    """Every process stands still at its step, then the node is killed once for all."""
    cuts = [cut for cut in CUT_POINTS if cut.victim is Victim.BROKER]
    async with _stage() as (server, nursery), AsyncExitStack() as connections:
        scenes = [
            Scene(cut, f"{number}-broker", tmp_path, server, nursery, own_rabbitmq) for number, cut in enumerate(cuts)
        ]
        for scene in scenes:
            await connections.enter_async_context(scene._connected())
        workers = await asyncio.gather(*(_freeze(scene) for scene in scenes))
        await asyncio.to_thread(own_rabbitmq.kill)
        await asyncio.to_thread(own_rabbitmq.start)
        for worker in workers:
            worker.send(signal.SIGCONT)
        await asyncio.gather(*(scene.finish(worker) for scene, worker in zip(scenes, workers, strict=True)))
    _check(scenes)


async def _freeze(scene: Scene) -> DyingWorker:
    await scene.give_message()
    return await scene.freeze()


def test_the_table_keeps_the_promise() -> None:
    """Duplicates only where nobody can know, and those are marked; a result for everything that is not held."""
    for cut in CUT_POINTS:
        is_unknown = cut.victim is Victim.RELAYQ and cut.place in {OUTSTANDING, "reply read"}
        assert cut.sent == 1 or (is_unknown and cut.is_marked), cut
        assert (min(cut.results) == 1) != cut.is_held, cut


def test_the_documentation_is_this_table() -> None:
    generator = runpy.run_path(str(GENERATOR))
    assert generator["PAGE"].read_text() == generator["page"](), f"run {GENERATOR.name}"
