"""A whole installation that something happens to: ``relayq run`` with two workers between a broker and a receiver.

Everything is looked at from outside: results from their queue, mails from the receiver, ``/health`` and ``/metrics``,
the send log.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions
from relayq.ports import Broker
from relayq.trial import ReceivedMessage, Sink, parse_script
from tests.faults.outcome import Collector, Outcome, publication
from tests.faults.report import report_disaster
from tests.support.fleet import until, workers_of
from tests.support.mail_drop import MailDrop
from tests.support.ports import free_port
from tests.support.relayq_process import RelayqProcess
from tests.support.servers import RabbitMqNode

SEED = int(os.environ.get("RELAYQ_FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
WORKERS = 2
CONNECTIONS = 4
GIVE_UP_SECONDS = 120.0
MIME = "From: a@shop.test\r\nSubject: x\r\n\r\n" + "A line of the body of a mail.\r\n" * 40
SCRIPT = "message * slow=0.03 250 ok"
"""Paces the run, so that there is mail before, during and after what happens."""

Strike = Callable[["Scene"], Awaitable[None]]


class Scene:
    """One run.

    Attributes:
        folder: Of this run alone.
        node: The RabbitMQ node, ``None`` with the embedded broker.
        outcome: What became of the messages.
        rng: Decides when what happens.
        relayq: The process, while it runs.
        drop: The receiver, where it is a process of its own.
        settings: Of relayq; may be changed before it is started.
        extra: Members of a message on top of the usual ones, by its number.
    """

    def __init__(
        self,
        folder: Path,
        node: RabbitMqNode | None,
        messages: int,
        *,
        settings: Mapping[str, str] | None = None,
        has_drop: bool = False,
        environ: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        queue_file: Path | None = None,
        destinations: int = 0,
        script: str = SCRIPT,
    ) -> None:
        """Nothing runs yet.

        Args:
            folder: Of this run alone.
            node: The RabbitMQ node, ``None`` for the embedded broker.
            messages: How many there are.
            settings: On top of the usual ones.
            has_drop: The receiver is a process of its own, which may be killed.
            environ: Variables of relayq.
            wrapper: Command in front of relayq's.
            queue_file: Of the embedded broker, when it is not in ``folder``.
            destinations: Receivers with an address of their own each; 0 is one for all mail.
            script: What the receiver does.
        """
        self.folder = folder
        self.node = node
        self.outcome = Outcome(messages)
        self.rng = random.Random(SEED)
        self.relayq: RelayqProcess
        self.collector: Collector
        self.drop = MailDrop(folder, script) if has_drop else None
        self._url = "" if node is None else node.new_vhost()
        self._queue_file = queue_file or folder / "queues.db"
        self._environ = environ or {}
        self._wrapper = wrapper
        self._destinations = destinations
        self._script = script
        self._port = free_port(*map(_address, range(destinations)))
        self.www_port = free_port()
        self.send_log = folder / "send.log"
        self.extra: Callable[[int], dict[str, Any]] = lambda _: {}
        self.settings = {
            "rabbitmq-address": self._url or f"embedded://{self._queue_file}",
            "rabbitmq-results": "results",
            "rabbitmq-qos": "50",
            "rabbitmq-minqos": "10",
            "hostname": "relayq.test",
            "smtp-threads": str(WORKERS),
            "ip-maxconnections": str(CONNECTIONS),
            "retry-interval": "1",
            "host-offline-time": "1",
            "smtp-out-timeout-connect": "5",
            "smtp-out-security": "optional",
            "send-log-file": str(self.send_log),
            "shutdown-timeout": "10",
            "www-port": str(self.www_port),
        } | dict(settings or {})

    @property
    def vhost(self) -> str:
        """Virtual host of this run."""
        return self._url.rpartition("/")[2]

    def message(self, number: int) -> dict[str, Any]:
        """What is put into the outbox."""
        message = {"envelope": "b@shop.test", "recipient": f"u{number}@example.test", "id": number, "mime": MIME}
        if self._destinations:
            host = _address(number % self._destinations)
            message["smarthost"] = {"hostname": host, "port": self._port}
        return message

    # --- the run ----------------------------------------------------------------------------------------------------

    async def play(self, strike: Strike, *, reads_results: bool = True) -> Outcome:
        """Give all messages, let ``strike`` happen meanwhile, and wait for the final results.

        Args:
            strike: What happens; the run ends behind it at the earliest.
            reads_results: Somebody reads the results from the start; else ``strike`` begins that with `read_results`.
        """
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(self._connected())
            self.collector = Collector(broker, self.outcome)
            await self._receive(stack)
            await broker.publish(
                [publication(self.message(number) | self.extra(number)) for number in range(self.outcome.messages)]
            )
            if reads_results:
                await stack.enter_async_context(self.collector)
            started = time.monotonic()
            self.start()
            try:
                await strike(self)
                if not reads_results:
                    await stack.enter_async_context(self.collector)
                await self.collector.complete(GIVE_UP_SECONDS)
                self.outcome.seconds = time.monotonic() - started
                if not self.outcome.lost:
                    await self._look()
                code = await asyncio.to_thread(self.relayq.stop)
            except TimeoutError:
                raise AssertionError(f"{self.collector.count} results\n{self.relayq.log[-3000:]}") from None
            finally:
                await asyncio.to_thread(self.relayq.__exit__, None, None, None)
                self.outcome.log = self.relayq.log
            assert code == 0, self.outcome.log[-3000:]
        if self.drop is not None:
            for recipient in self.drop.recipients():
                self._count(recipient)
        return self.outcome

    def start(self) -> None:
        """Begin a life of relayq."""
        self.relayq = RelayqProcess(self.folder, self.settings, environ=self._environ, wrapper=self._wrapper)

    async def _receive(self, stack: AsyncExitStack) -> None:
        if self._destinations:
            await self._receive_everywhere(stack)
            return
        if self.drop is None:
            sink = Sink(on_message=self._accept, script=parse_script(self._script))
            await stack.enter_async_context(sink)
            port = sink.port
        else:
            await asyncio.to_thread(self.drop.start)
            stack.callback(self.drop.kill)
            port = self.drop.port
        self.settings = {"smarthost": "127.0.0.1", "smarthost-port": str(port)} | self.settings

    async def _receive_everywhere(self, stack: AsyncExitStack) -> None:
        addresses = [_address(number) for number in range(self._destinations)]
        for address in addresses:
            await stack.enter_async_context(
                Sink(address, self._port, on_message=self._accept, script=parse_script(self._script))
            )  # fmt: skip

    def _accept(self, message: ReceivedMessage) -> None:
        if message.code < 400:  # content that was refused is no mail
            self._count(message.recipients[0])

    def _count(self, recipient: str) -> None:
        self.outcome.received[int(recipient.partition("@")[0][1:])] += 1

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Broker]:
        listener, clock = RecordingListener(), SystemClock()
        broker: Broker
        if self.node is None:
            options = EmbeddedOptions(path=str(self._queue_file))
            broker = EmbeddedBroker(options, listener, clock, lambda *_: None)
        else:
            endpoint = Endpoint(host="127.0.0.1", port=self.node.port, vhost=self.vhost)
            broker = RabbitMqBroker(
                RabbitMqOptions(endpoints=(endpoint,), outbox="outbox", queues=("results",), delay_intervals=(1,)),
                listener,
                clock,
                lambda *_: None,
            )
        await broker.open()
        try:
            yield broker
        finally:
            await broker.close()

    # --- what a strike needs ----------------------------------------------------------------------------------------

    async def more_results(self, count: int) -> None:
        """Wait until so many more messages have their result, or all have."""
        goal = min(self.collector.count + count, self.outcome.messages)
        async with asyncio.timeout(GIVE_UP_SECONDS):
            await self.collector.until(lambda: self.collector.count >= goal)

    async def more_mails(self, count: int) -> None:
        """Wait until the receiver, which is in this process, got so many more mails, or all.

        Results may be late: a busy broker tells of the first when relayq has sent the last.
        """
        received = self.outcome.received
        goal = min(received.total() + count, self.outcome.messages)
        await until(lambda: received.total() >= goal, "the mails")

    async def random_moment(self, rounds: int) -> None:
        """Wait for a moment in the first half of the share of one of so many rounds."""
        share = self.outcome.messages // rounds
        await self.more_results(self.rng.randrange(1, max(2, share // 2)))
        await asyncio.sleep(self.rng.random() * 0.03)  # between two results, not right behind one

    async def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``."""
        assert self.node is not None
        return await asyncio.to_thread(self.node.rabbitmqctl, *arguments)

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[None]:
        """Stop relayq for a moment, so that what takes its time happens between two of its mails."""
        processes = [self.relayq.pid, *await self.workers()]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    async def workers(self) -> list[int]:
        """Process ids of the workers, once all of them run."""
        await until(lambda: len(workers_of(self.relayq.pid)) == WORKERS, "the workers")
        return workers_of(self.relayq.pid)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and content of an HTTP resource of the supervisor."""
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.www_port}{path}")

    async def figure(self, name: str) -> float:
        """Sum of a metric over its labels."""
        _, text = await self.get("/metrics")
        return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))

    async def until_figure(self, name: str, is_right: Callable[[float], bool]) -> None:
        """Look at a metric until it is right; workers report once a second."""
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while not is_right(await self.figure(name)):  # noqa: ASYNC110 - there is nobody to tell
                await asyncio.sleep(0.1)

    async def _look(self) -> None:
        """What is seen from outside once everything is final."""
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while (await self.get("/health"))[0] != 200:  # noqa: ASYNC110 - it may have been started a moment ago
                await asyncio.sleep(0.1)
        await self.until_figure("relayq_messages_held", lambda held: held == 0)
        assert await self.figure("relayq_crashes_total") == 0, self.relayq.log[-3000:]

    def accepted_in_send_log(self) -> set[int]:
        """Messages the send log tells to be delivered."""
        return {
            int(number)
            for number in re.findall(
                r"message:accepted \d+ <[^>]*> <u(\d+)@", self.send_log.read_text(errors="replace")
            )
        }


async def check(
    scene: Scene, fault: str, strike: Strike, *, reads_results: bool = True, is_logged: bool = True,
    is_told_alike: bool = True, report: Callable[[str, str, Outcome], None] = report_disaster,
) -> Outcome:  # fmt: skip
    """Play it, write it down, and be strict about it.

    Args:
        scene: It.
        fault: What is written down.
        strike: What happens.
        reads_results: See `Scene.play`.
        is_logged: Every delivery stands in the send log; not when relayq dies, or may not write.
        report: Writes it down.
        is_told_alike: Final results of one message are equal; not when there are several machines.
    """
    sys.stdout.write(f"RELAYQ_FAULT_SEED={SEED}\n")
    outcome = await scene.play(strike, reads_results=reads_results)
    report(fault, "embedded" if scene.node is None else "RabbitMQ", outcome)
    assert outcome.lost == [], outcome.log[-3000:]
    assert outcome.unexplained == [], [outcome.results[number] for number in outcome.unexplained]
    if is_logged:
        assert scene.accepted_in_send_log() == set(range(outcome.messages))
    for number in outcome.told_twice if is_told_alike else ():
        first, *others = outcome.results[number]
        assert all(other == first for other in others), outcome.results[number]
    return outcome


def folders_in(parent: Path, count: int) -> list[Path]:
    """So many new ones, for scenes at the same time."""
    folders = [parent / str(number) for number in range(count)]
    for folder in folders:
        folder.mkdir()
    return folders


def _address(number: int) -> str:
    return f"127.0.{1 + number // 200}.{1 + number % 200}"


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""  # not yet, or not any more
