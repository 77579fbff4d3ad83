"""``relayq demo``: a whole installation in one process, for one minute (spec operations.md 15).

Embedded broker in a temporary folder, scripted SMTP server, generated messages, a resolver of its own and the real
delivering engine between them. No configuration is read, no name is looked up, and every connection goes to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from relayq.cli.endings import Ending, say
from relayq.cli.loop import run, until_stopped
from relayq.cli.scoreboard import Scoreboard
from relayq.cli.script_file import load_script
from relayq.config import ExitCode, Settings, load, parse_options
from relayq.trial import Script, Sink, generate_messages, parse_script
from relayq.trial.generate import ORDINARY_DOMAINS, TROUBLE_DOMAINS, TROUBLE_SCRIPT

if TYPE_CHECKING:
    from relayq.adapters.memory import MemoryResolver
    from relayq.model import Attempt, DeliveryError, Message, Outcome
    from relayq.ports import Broker, OutboxItem

HOSTNAME: Final = "demo.test"
SINK_HOST: Final = "127.0.0.1"
OUTBOX: Final = "outbox"
RESULTS: Final = "results"
BATCH: Final = 100
PREFETCH: Final = 1000
RETRY_SECONDS: Final = 1
GIVE_UP_SECONDS: Final = 30
"""After it messages are given up: also a script that lets nothing through comes to an end."""
REPLY_SECONDS: Final = 5
PROGRESS_INTERVAL: Final = 1.0
LAST_LOOK: Final = 0.5
"""Seconds to wait for results too many, after every message has one."""
MAX_TROUBLES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the command line says.

    Attributes:
        messages: How many.
        script: Of the SMTP server.
        time_limit: Seconds until the demo ends, finished or not.
    """

    messages: int
    script: Script
    time_limit: float


@click.command(
    "demo",
    epilog="""\b
Examples:
  relayq demo
  relayq demo --messages 20000
  relayq demo --script examples/demo.sink --keep

Exit code 0: every message has exactly one final result; 70: not so.""",
)
@click.option("--messages", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="How many.")
@click.option("--script", metavar="FILE", help="What the SMTP server does instead of the built-in trouble.")
@click.option("--workers", type=click.IntRange(1, 1), default=1, show_default=True, help="Delivering processes.")
@click.option("--keep", is_flag=True, help="Leave the folder with the queues in place.")
def command(messages: int, script: str | None, workers: int, keep: bool) -> int:
    """See a whole installation at work; nothing leaves the machine, no configuration is read."""
    del workers
    options = DemoOptions(
        messages=messages,
        script=load_script(script) if script else parse_script(TROUBLE_SCRIPT),
        time_limit=GIVE_UP_SECONDS + 30 + messages / 100,
    )
    folder = Path(tempfile.mkdtemp(prefix="relayq-demo-"))
    try:
        return run(lambda stop: _demonstrate(options, folder, stop))
    finally:
        if keep:
            say(f"the queues are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def _demonstrate(options: DemoOptions, folder: Path, stop: asyncio.Event) -> int:
    from relayq.cli.demo_report import print_report

    demo = Demo(options, folder)
    try:
        async with asyncio.timeout(options.time_limit):
            finished = await until_stopped(demo.run(), stop)
    except TimeoutError:
        finished = False
        say(f"not finished after {options.time_limit:.0f} s")
    say(*demo.observer.troubles)
    print_report(demo.score, demo.seconds)
    if finished is None:
        return Ending.INTERRUPTED
    return ExitCode.OK if demo.score.is_perfect else ExitCode.INTERNAL


def demo_settings(folder: Path, sink_port: int) -> Settings:
    """Settings of the demo, from nowhere but here."""
    values = {
        "rabbitmq-address": f"embedded://{folder}/demo.db",
        "rabbitmq-outbox": OUTBOX,
        "rabbitmq-results": RESULTS,
        "hostname": HOSTNAME,
        "smtp-out-hostname": HOSTNAME,
        "smtp-out-port": str(sink_port),
        "smtp-threads": "1",
        "retry-interval": str(RETRY_SECONDS),
        "max-delivertime": str(GIVE_UP_SECONDS),
        "host-offline-time": str(RETRY_SECONDS),
        "host-backoff-time": str(RETRY_SECONDS),
        "shutdown-timeout": "5",
        "journal-directory": "",
    }
    phases = ("connect", "intro", "ehlo", "starttls", "mailfrom", "rcptto", "data", "block", "message")
    values |= {f"smtp-out-timeout-{phase}": str(REPLY_SECONDS) for phase in phases}
    return load(parse_options([f"--{key}={value}" for key, value in values.items()]), no_default_config=True)


class Demo:
    """One run.

    Attributes:
        score: What became of the messages.
        observer: What went wrong inside.
        seconds: From the first publish to the last final result.
    """

    def __init__(self, options: DemoOptions, folder: Path) -> None:
        self.score = Scoreboard()
        self.observer = DemoObserver()
        self.seconds = 0.0
        self._options = options
        self._folder = folder
        self._started_at = 0.0
        self._all_finished = asyncio.Event()
        self._collector: Broker | None = None

    async def run(self) -> bool:
        """Publish, deliver and collect; True when every message has a final result."""
        async with Sink(SINK_HOST, script=self._options.script, hostname="mx.demo.test", seed=1) as sink:
            settings = demo_settings(self._folder, sink.port)
            async with self._installation(settings) as collector, asyncio.TaskGroup() as group:
                progress = group.create_task(self._show_progress())
                self._started_at = time.monotonic()
                await self._publish(collector)
                await self._all_finished.wait()
                await asyncio.sleep(LAST_LOOK)
                progress.cancel()
        return True

    @contextlib.asynccontextmanager
    async def _installation(self, settings: Settings) -> AsyncIterator[Broker]:
        """A running worker, and a broker connection beside it that collects results."""
        from relayq.app import Worker, World, open_broker

        worker = Worker(settings, observer=self.observer, log=self.observer.log, world=World(resolver=demo_resolver()))
        collector = open_broker(settings)
        try:
            await worker.start()
            await collector.open()
            self._collector = collector
            await collector.consume(RESULTS, PREFETCH, self._collect)
            yield collector
        finally:
            await worker.stop()
            await collector.close()

    async def _publish(self, broker: Broker) -> None:
        from relayq.ports import Properties, Publication, QueueRole

        properties = Properties()
        batch: list[Publication] = []
        for message in generate_messages(self._options.messages):
            self.score.add_message(message.trial_id, time.monotonic())
            batch.append(Publication(queue=OUTBOX, body=message.body, properties=properties, role=QueueRole.OUTBOX))
            if len(batch) == BATCH:
                await broker.publish(batch)
                batch = []
        await broker.publish(batch)

    def _collect(self, item: OutboxItem) -> None:
        assert self._collector is not None
        now = time.monotonic()
        self.score.add_result(item.body, now)
        self.seconds = now - self._started_at
        self._collector.settle(item, ())
        if self.score.finished == self._options.messages:
            self._all_finished.set()

    async def _show_progress(self) -> None:
        """A line every second, rewritten on a terminal, and one at the end."""
        begin, end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")
        before = 0
        try:
            while True:
                await asyncio.sleep(PROGRESS_INTERVAL)
                finished = self.score.finished
                sys.stderr.write(f"{begin}{self._progress()}, {(finished - before) / PROGRESS_INTERVAL:.0f}/s{end}")
                sys.stderr.flush()
                before = finished
        finally:
            sys.stderr.write(f"{begin}{self._progress()}\n")
            sys.stderr.flush()

    def _progress(self) -> str:
        score = self.score
        return f"{score.finished} of {self._options.messages} finished, {score.published - score.finished} under way"


def demo_resolver() -> MemoryResolver:
    """Names of the invented domains; nothing else exists."""
    from relayq.adapters.clock import SystemClock
    from relayq.adapters.memory import MemoryResolver

    resolver = MemoryResolver(SystemClock(), warm=True)
    for domain in (*ORDINARY_DOMAINS, *TROUBLE_DOMAINS):
        resolver.set_mx(domain, [(10, f"mx.{domain}")])
        resolver.set_addresses(f"mx.{domain}", SINK_HOST)
    return resolver


@dataclass(slots=True)
class DemoObserver:
    """``ports.Observer`` that keeps what should not happen in a demo.

    Attributes:
        troubles: One sentence each, the first few.
    """

    troubles: list[str] = field(default_factory=list)

    def attempt_finished(
        self, message: Message | None, attempt: Attempt, outcome: Outcome, error: DeliveryError | None, latency: float
    ) -> None:
        """Results tell."""

    def message_waits(self, reason: str) -> None:
        """Not of interest."""

    def resource_fetched(self, url: str) -> None:
        """Not of interest."""

    def session_opened(self, route: str, seconds: float) -> None:
        """Not of interest."""

    def transaction_finished(self, waited: float, seconds: float) -> None:
        """Not of interest."""

    def session_closed(self, route: str, messages: int) -> None:
        """Not of interest."""

    def tls_failed(self, domain: str, host: str, policy: str, kind: str) -> None:
        """Invented domains publish no policies."""

    def warn(self, component: str, text: str) -> None:
        """Keep it."""
        self._keep(f"{component}: {text}")

    def alarm(self, component: str, text: str) -> None:
        """Keep it."""
        self._keep(f"{component}: {text}")

    def crash(self, component: str, error: BaseException) -> None:
        """Keep it."""
        self._keep(f"{component}: internal error: {type(error).__name__}: {error}")

    def log(self, level: str, text: str) -> None:
        """Keep what an adapter warns of."""
        if level in {"warning", "error", "critical"}:
            self._keep(text)

    def _keep(self, text: str) -> None:
        if len(self.troubles) < MAX_TROUBLES:
            self.troubles.append(text)
