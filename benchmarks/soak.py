"""Half an hour under load with faults, watched from outside: what grows, what stays behind, what is lost.

relayq delivers to a scripted server at a share of the capacity that is measured first. Of the messages 2 % are put off
(450, tried again 5 s later), 1 % lose their connection before the reply, 2 % are refused (550). Every 5 s memory and
open files are read from /proc, the lengths of the queues from the broker and messages held from ``/metrics``. At the
end every message has to have its final result, and nothing may have grown.

    make soak                                               # 30 minutes; writes benchmarks/results/soak.json
    python -m benchmarks.soak --minutes 3 --rate 200
    python -m benchmarks.soak --minutes 480 --json night.json

Ends with 1 when a limit is broken. Growth is judged in runs of 20 minutes and more, by their second half: before that,
it is mostly caches and tables being filled up to their bounds.

Memory is judged twice. What grows steadily is the median of the slopes between all pairs of samples: a leak of 8 MiB
per hour shows in it at once, a single step does not. Steps are bounded by what is known to make one: the ledger and the
journal each keep a table of the messages of the last minute (at most 100,000), which Python makes twice as large when a
wave of a few percent carries their number over a third of a power of two. That is 5 MiB each, once, above 87,000
messages. Steps that come again, as those of a leak do, break the limit in a longer run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop
from pamqp import commands

from benchmarks.macro import Bench, settings_for
from benchmarks.raw_amqp import RawAmqp, connect, declare, depth
from benchmarks.record import machine, write_record
from benchmarks.slow_sink import ScriptedSink
from benchmarks.support import RelayqProcess, end_in_order, message_bodies, process_figures, serve_dns
from tests.support.ports import free_port
from tests.support.servers import RabbitMqNode

FAULTS = """\
rcptto * share=2% 550 5.1.1 nobody here
rcptto * share=2% 450 4.2.0 come back later
message * share=1% drop
"""
RETRY_SECONDS = 5
SAMPLE_SECONDS = 5.0
TICK_SECONDS = 0.05
CAPACITY_MESSAGES = 6000
DOMAINS = 200
WARM_SHARE = 0.5
JUDGED_MINUTES = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen at one time.

    Attributes:
        second: Since the start.
        rss_mib: Resident memory of relayq, all processes.
        open_fds: Open files and sockets, all processes.
        outbox: Messages waiting in the outbox.
        held: Messages in relayq's hands.
        published: Messages given so far.
        finished: Messages with a final result so far.
    """

    second: float
    rss_mib: float
    open_fds: int
    outbox: int
    held: int
    published: int
    finished: int


@dataclass(slots=True)
class Tally:
    """Who has got a final result, by number of the message."""

    seen: bytearray = field(default_factory=bytearray)
    finished: int = 0
    successes: int = 0
    failures: int = 0
    twice: int = 0

    def take(self, number: int, is_success: bool) -> None:
        """Count one final result."""
        if number >= len(self.seen):
            self.seen.extend(bytes(number + 65536 - len(self.seen)))
        if self.seen[number]:
            self.twice += 1
            return
        self.seen[number] = 1
        self.finished += 1
        if is_success:
            self.successes += 1
        else:
            self.failures += 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit: what it is about, what was measured, what is allowed; ``None`` when the run was too short for it."""

    about: str
    measured: float
    most: float
    is_kept: bool | None


def steady_slope_per_hour(points: Sequence[tuple[float, float]]) -> float:
    """Growth without single steps (Theil and Sen); ``points`` are (second, value) in order of time, one means 0."""
    slopes = [
        (value - earlier_value) / (second - earlier)
        for number, (second, value) in enumerate(points)
        for earlier, earlier_value in points[:number]
        if second > earlier
    ]
    return statistics.median(slopes) * 3600 if slopes else 0.0


def rise(values: Sequence[float]) -> float:
    """How far the median of the last quarter is above that of the first; fewer than four values mean 0."""
    quarter = len(values) // 4
    return statistics.median(values[-quarter:]) - statistics.median(values[:quarter]) if quarter else 0.0


def slope_per_hour(points: Sequence[tuple[float, float]]) -> float:
    """Growth by least squares; ``points`` are (second, value), fewer than three mean 0."""
    if len(points) < 3:
        return 0.0
    slope = statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope
    return slope * 3600


class Soak:
    """One run over servers that exist."""

    def __init__(self, given: argparse.Namespace, node: RabbitMqNode, sink: ScriptedSink, dns_port: int) -> None:
        self.given = given
        self.node = node
        self.www_port = free_port("127.0.0.1")
        extra = [
            "rabbitmq-results=",
            "rabbitmq-failure=failure",
            f"retry-interval={RETRY_SECONDS}",
            f"www-port={self.www_port}",
            f"smtp-threads={given.workers}",
            *given.set,
        ]
        self.settings = settings_for(node.url, sink.port, dns_port, extra)
        self.bodies = message_bodies(given.size, DOMAINS)
        self.tally = Tally()
        self.samples: list[Sample] = []
        self.published = 0

    async def run(self, rate: float) -> None:
        """Publish at ``rate`` per second for the wanted time, then until nothing is left to come."""
        amqp, watcher = await connect("127.0.0.1", self.node.port), await connect("127.0.0.1", self.node.port)
        await declare(amqp, "outbox", "success", "failure")
        readers = [await self._read(queue) for queue in ("success", "failure")]
        with RelayqProcess(self.settings) as relayq:
            started = time.monotonic()
            sampling = asyncio.create_task(self._sample(watcher, relayq, started))
            try:
                await self._publish(amqp, relayq, rate, started)
                limit = time.monotonic() + self.given.patience
                while self.tally.finished < self.published and time.monotonic() < limit:  # noqa: ASYNC110 - rarely asked
                    await asyncio.sleep(0.2)
                await self._note(watcher, relayq, time.monotonic() - started)
            finally:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
        for connection in (amqp, watcher, *readers):
            connection.transport.close()

    async def _read(self, queue: str) -> RawAmqp:
        amqp = await connect("127.0.0.1", self.node.port)
        is_success = queue == "success"
        amqp.on_deliver = lambda tag, body: self.tally.take(json.loads(body)["id"], is_success)
        await amqp.call(commands.Basic.Consume(queue=queue, no_ack=True))
        return amqp

    async def _publish(self, amqp: RawAmqp, relayq: RelayqProcess, rate: float, started: float) -> None:
        """In small portions, on time: what a slow moment leaves out is made up for at once."""
        end = started + self.given.minutes * 60
        while (now := time.monotonic()) < end:
            if not relayq.is_running:
                raise SystemExit(f"relayq ended:\n{relayq.log.read_text()[-3000:]}")
            due = int((now - started) * rate)
            while self.published < due:
                amqp.transport.write(amqp.publish_frames(b"outbox", self.bodies(self.published)))
                self.published += 1
            await asyncio.sleep(TICK_SECONDS)

    async def _sample(self, watcher: RawAmqp, relayq: RelayqProcess, started: float) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            await self._note(watcher, relayq, time.monotonic() - started)

    async def _note(self, watcher: RawAmqp, relayq: RelayqProcess, second: float) -> None:
        rss_mib, open_fds = process_figures(relayq.pid)
        held = await asyncio.to_thread(self._held)
        sample = Sample(
            second=round(second, 1),
            rss_mib=round(rss_mib, 1),
            open_fds=open_fds,
            outbox=await depth(watcher, "outbox"),
            held=held,
            published=self.published,
            finished=self.tally.finished,
        )
        self.samples.append(sample)
        if len(self.samples) % 6 == 0:
            print("  ".join(f"{name} {value}" for name, value in asdict(sample).items()), flush=True)

    def _held(self) -> int:
        """Messages held, as ``/metrics`` tells."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.www_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return int(next((line.split()[1] for line in lines if line.startswith("relayq_messages_held ")), "0"))


def judge(soak: Soak, given: argparse.Namespace, rate: float) -> list[Verdict]:
    """Every limit."""
    end = given.minutes * 60
    steady = [sample for sample in soak.samples if end * WARM_SHARE <= sample.second <= end]
    is_judged = given.minutes >= JUDGED_MINUTES
    memory = steady_slope_per_hour([(sample.second, sample.rss_mib) for sample in steady])
    risen = rise([sample.rss_mib for sample in steady])
    files = slope_per_hour([(sample.second, float(sample.open_fds)) for sample in steady])
    last = soak.samples[-1]
    lost = soak.published - soak.tally.finished
    growth = [
        Verdict("memory, MiB per hour", memory, given.most_memory, memory <= given.most_memory if is_judged else None),
        Verdict("memory, MiB in steps", risen, given.most_rise, risen <= given.most_rise if is_judged else None),
        Verdict("open files per hour", files, given.most_files, files <= given.most_files if is_judged else None),
    ]
    late = max((1 - sample.finished / max(sample.published, 1) for sample in steady[-1:]), default=0.0)
    return [
        *growth,
        Verdict("messages without a final result", lost, 0, lost == 0),
        Verdict("messages stuck in the outbox or in relayq", last.outbox + last.held, 0, last.outbox + last.held == 0),
        Verdict(
            f"share unfinished at the end of {rate:.0f} messages/s", late, given.most_late, late <= given.most_late
        ),
    ]


async def measure(given: argparse.Namespace, node: RabbitMqNode) -> tuple[Soak, float]:
    """Capacity first, then the run."""
    dns_port, _, dns = await serve_dns()
    rate = given.rate
    if not rate:
        with ScriptedSink() as sink:
            asked = argparse.Namespace(
                messages=CAPACITY_MESSAGES, queued=0, size=given.size, domains=DOMAINS, profile=None,
                set=[f"smtp-threads={given.workers}", *given.set],
            )  # fmt: skip
            capacity = (await Bench(asked, node, sink, dns_port).product())["per_second"]
        rate = capacity * given.share
        print(f"capacity {capacity:.0f} messages/s; load {rate:.0f}", flush=True)
    with ScriptedSink(FAULTS) as sink:
        soak = Soak(given, node, sink, dns_port)
        await _empty(node)
        await soak.run(rate)
    dns.close()
    return soak, rate


async def _empty(node: RabbitMqNode) -> None:
    amqp = await connect("127.0.0.1", node.port)
    await declare(amqp, "outbox", "success", "failure")
    for queue in ("outbox", "success", "failure"):
        await amqp.call(commands.Queue.Purge(queue=queue))
    amqp.transport.close()


def main() -> int:
    """Measure, judge, print; 1 when a limit is broken."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="messages per second instead of a share of the capacity"
    )
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity (0.7)")
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds for the last results to come (120)")
    parser.add_argument("--most-memory", type=float, default=8.0, help="allowed growth, MiB per hour (8)")
    parser.add_argument("--most-rise", type=float, default=12.0, help="allowed growth of a whole run, MiB (12)")
    parser.add_argument("--most-files", type=float, default=20.0, help="allowed growth of open files per hour (20)")
    parser.add_argument("--most-late", type=float, default=0.05, help="share that may wait when the load ends (0.05)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    print(
        f"{given.minutes:g} minutes, {os.cpu_count()} cores shared with RabbitMQ, the receiver and the sender",
        flush=True,
    )
    with RabbitMqNode(memory_bytes=4 << 30) as node:
        soak, rate = uvloop.run(measure(given, node))
    verdicts = judge(soak, given, rate)
    tally = soak.tally
    print(f"\n{soak.published} messages: {tally.successes} delivered, {tally.failures} refused, {tally.twice} twice")
    words = {True: "kept", False: "BROKEN", None: f"not judged below {JUDGED_MINUTES:g} minutes"}
    for verdict in verdicts:
        print(f"  {verdict.about:50} {verdict.measured:10.2f} of {verdict.most:g}: {words[verdict.is_kept]}")
    if given.json:
        figures = {
            "minutes": given.minutes, "rate": round(rate, 1), "size": given.size, "workers": given.workers,
            "published": soak.published, "successes": tally.successes, "failures": tally.failures, "twice": tally.twice,
            "verdicts": [asdict(verdict) for verdict in verdicts], "samples": [asdict(one) for one in soak.samples],
        }  # fmt: skip
        write_record(given.json, "soak", figures, where=where, settings=given.set)
    return int(any(verdict.is_kept is False for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
