"""A worker killed over and over in the middle of many messages: each has a result, and each duplicate its mark."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions
from relayq.ports import Broker, OutboxItem, Properties, Publication, QueueRole
from relayq.trial import ReceivedMessage, Sink, parse_script
from tests.support.dying_worker import DyingWorker, Nursery
from tests.support.servers import RabbitMqNode

MESSAGES = 400
KILLS = 3
EACH = 80
"""Mails accepted between two kills."""
PATIENCE = 120.0


class Flood:
    """Messages, their server, and what comes out."""

    def __init__(self, broker: Broker, *, are_equal: bool) -> None:
        self.broker = broker
        self.are_equal = are_equal
        self.accepted: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.marked: Counter[str] = Counter()
        self.sink = Sink(on_message=self._accept, script=parse_script("rcptto grey* first=1 450 4.2.0 later"))
        self._changed = asyncio.Event()
        self._settling: set[asyncio.Future[None]] = set()

    def _accept(self, message: ReceivedMessage) -> None:
        self.accepted[message.recipients[0]] += 1
        self._changed.set()

    def _take(self, item: OutboxItem) -> None:
        result = json.loads(item.body)
        self.results[result["recipient"]] += 1
        self.marked[result["recipient"]] += result["results"][-1].get("possible-duplicate", False)
        settled = asyncio.ensure_future(self.broker.settle(item, ()))
        self._settling.add(settled)
        settled.add_done_callback(self._settling.discard)
        self._changed.set()

    def recipient(self, number: int) -> str:
        if self.are_equal:
            return "same@example.test"
        return f"{'grey' if number % 5 == 0 else 'u'}{number}@example.test"

    async def publish(self) -> None:
        bodies = [
            {"envelope": "b@shop.test", "recipient": self.recipient(number), "mime": "Subject: x\r\n\r\nHello.\r\n"}
            for number in range(MESSAGES)
        ]
        await self.broker.publish([
            Publication(queue="outbox", body=json.dumps(body).encode(), properties=Properties(), role=QueueRole.OUTBOX)
            for body in bodies
        ])  # fmt: skip

    async def until(self, condition: Callable[[], bool], worker: DyingWorker) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.accepted.total()} mails, {self.results.total()} results\n{worker.log}"
            ) from None

    async def run(self, options: list[str], folder: Path) -> None:
        """Kill, begin again, kill; then let it come to its end."""
        options = [
            *options, "rabbitmq-results=results", "hostname=mta.test", "smarthost=127.0.0.1", "retry-interval=1",
            f"smarthost-port={self.sink.port}", "smtp-out-security=optional", f"journal-directory={folder}/journal",
            "rabbitmq-qos=100", "ip-maxconnections=5", "smtp-threads=1",
        ]  # fmt: skip
        async with Nursery() as nursery:
            await self.publish()
            for number in range(KILLS):
                worker = await nursery.start(options, folder / f"log{number}.txt")
                goal = self.accepted.total() + EACH
                await self.until(lambda goal=goal: self.accepted.total() >= goal, worker)  # type: ignore[misc]
                worker.send(signal.SIGKILL)
                await worker.ended()
            await self.broker.consume("results", 100, self._take)
            worker = await nursery.start(options, folder / "last.txt")
            await self.until(lambda: self.is_complete, worker)
            assert await worker.stop() == 0, worker.log
        if self._settling:
            await asyncio.wait(self._settling)

    @property
    def is_complete(self) -> bool:
        """Every message has a result."""
        if self.are_equal:
            return self.results.total() >= MESSAGES
        return len(self.results) == MESSAGES

    def check(self) -> None:
        """Nothing lost; whatever was accepted twice says so, and not much was."""
        if self.are_equal:
            assert self.accepted.total() >= MESSAGES, "a message was taken for its twin"
        else:
            assert len(self.accepted) == MESSAGES
            twice = [recipient for recipient, count in self.accepted.items() if count > 1]
            assert not [recipient for recipient in twice if not self.marked[recipient]], "a duplicate without its mark"
            assert max(self.accepted.values()) <= 1 + KILLS
            assert len(twice) <= KILLS * 15, "more than were in flight"


@pytest.mark.parametrize("are_equal", [False, True], ids=["different", "equal"])
async def test_on_rabbitmq(rabbitmq: RabbitMqNode, tmp_path: Path, are_equal: bool) -> None:
    url = rabbitmq.new_vhost()
    endpoint = Endpoint(host="127.0.0.1", port=rabbitmq.port, vhost=url.rpartition("/")[2])
    options = RabbitMqOptions(endpoints=(endpoint,), outbox="outbox", delay_intervals=(1,), throttle=1000)
    broker = RabbitMqBroker(options, RecordingListener(), SystemClock(), lambda *_: None)
    await _run(broker, [f"rabbitmq-address={url}"], tmp_path, are_equal=are_equal)


@pytest.mark.parametrize("are_equal", [False, True], ids=["different", "equal"])
async def test_on_the_embedded_broker(tmp_path: Path, are_equal: bool) -> None:
    file = tmp_path / "queues.db"
    broker = EmbeddedBroker(EmbeddedOptions(path=str(file)), RecordingListener(), SystemClock(), lambda *_: None)
    await _run(broker, [f"rabbitmq-address=embedded://{file}"], tmp_path, are_equal=are_equal)


async def _run(broker: Broker, options: list[str], folder: Path, *, are_equal: bool) -> None:
    await broker.open()
    flood = Flood(broker, are_equal=are_equal)
    try:
        async with flood.sink:
            await flood.run(options, folder)
    finally:
        await broker.close()
    flood.check()
