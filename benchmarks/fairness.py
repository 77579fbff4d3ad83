"""What others notice of a bad destination: one that is dead, slow, throttles, or gets more mail than it can take.

The outbox is full, and every tenth message is for a bad destination; in the case *huge* half as many again lie before
all others. Measured is, from 5 % to 95 % of what the others get, how fast they get it, beside a run without any bad
destination. All processes share the machine: what handling a bad message costs, in relayq, the broker and the
receivers, is lost to the others. Three figures tell how much it is:

* *share*: of the rate without bad destinations, by the clock;
* *share of CPU*: the same with nothing else on the machine: what a message to the others costs all processes, without
  and with bad ones. It does not depend on what else runs;
* the case *healthy*, the same messages to one more good destination: what a tenth more mail costs in any case.

With ``--offered`` messages come at that rate instead, to the others, and those of the bad one besides: what it takes
from them shows where they get less than is offered, or take longer.

    python -m benchmarks.fairness
    python -m benchmarks.fairness --messages 4000 --domains 500 --runs 1 --case none --case dead
    python -m benchmarks.fairness --offered 1500 --messages 12000 --domains 500
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop
from pamqp import commands

from benchmarks.macro import settings_for
from benchmarks.raw_amqp import RawAmqp, connect, consumers, declare, fill
from benchmarks.record import machine, write_record
from benchmarks.support import Cost, RelayqProcess, end_in_order, median, message_bodies, serve_dns
from tests.support.servers import RabbitMqNode, SmtpSink

NONE = "none"
GOOD_PLACE = 1
BAD: dict[str, tuple[str, tuple[int, ...]]] = {
    NONE: ("none", ()),
    "healthy": ("none, but a tenth more mail", (GOOD_PLACE,)),
    "refused": ("dead: refuses connections", (5,)),
    "dead": ("dead: never greets", (2,)),
    "slow": ("slow: answers content after 5 s", (3,)),
    "throttled": ("throttled: 450 for every recipient", (4,)),
    "all": ("all four of them", (5, 2, 3, 4)),
    "huge": ("huge: thousands wait for one that is slow", (3,)),
}
"""Cases by name: what is bad, and the last numbers of the addresses of the bad destinations."""
SINKS: dict[int, tuple[str, ...]] = {3: ("-w", "5"), 4: ("-b", "450 4.7.0 too many messages", "-r", "RCPT")}
"""What ``smtp-sink`` does at an address."""
SILENT_PLACE = 2
GOOD = "@d"
WARM, DONE = 0.05, 0.95
GIVE_UP_SECONDS = 300.0
POLL_SECONDS = 0.02


class Figures(NamedTuple):
    """One run: messages per second the others got, and CPU seconds per message to them, by process."""

    per_second: float
    relayq: float
    broker: float
    sinks: float
    p50: float
    p99: float

    @property
    def cpu(self) -> float:
        """Of all together."""
        return self.relayq + self.broker + self.sinks


def mixed(
    size: int, domains: int, places: tuple[int, ...], every: int, *, first_bad: int = 0
) -> Callable[[int], bytes]:
    """Messages by number; with ``places`` the first ones and one of ``every`` are for a bad destination, in turn."""
    plain = message_bodies(size, domains)

    def body(number: int) -> bytes:
        octets = plain(number)
        if not places or (number >= first_bad and number % every):
            return octets
        start = octets.index(GOOD.encode())
        place = places[(number if number < first_bad else number // every) % len(places)]
        return octets[:start] + f"@bad{place}.test".encode() + octets[octets.index(b'"', start) :]

    return body


async def offer(amqp: RawAmqp, bodies: Callable[[int], bytes], count: int, per_second: float) -> None:
    """Publish at a steady rate, from when somebody is there to take it."""
    limit = time.perf_counter() + GIVE_UP_SECONDS
    while not await consumers(amqp, "outbox"):
        if time.perf_counter() > limit:
            raise SystemExit("nobody consumes the outbox")
        await asyncio.sleep(POLL_SECONDS)
    begun = time.perf_counter()
    for number in range(count):
        ahead = number / per_second - (time.perf_counter() - begun)
        if ahead > 0.0:
            await asyncio.sleep(ahead)
        amqp.transport.write(amqp.publish_frames(b"outbox", bodies(number)))


class Bench:
    """One broker, the receivers, one DNS server for all runs."""

    def __init__(
        self, given: argparse.Namespace, node: RabbitMqNode, sinks: Sequence[SmtpSink], port: int, dns_port: int
    ) -> None:
        self.given = given
        self.node = node
        self.port = port
        self.dns_port = dns_port
        self._broker = Cost(int(node.pid))
        self._sinks = [Cost(sink.pid) for sink in sinks]

    def _snapshot(self, relayq: RelayqProcess) -> tuple[float, float, float, float]:
        sinks = sum(sink.cpu_seconds() for sink in self._sinks)
        return time.perf_counter(), relayq.cost.cpu_seconds(), self._broker.cpu_seconds(), sinks

    async def run(self, case: str) -> Figures:
        """One run of ``relayq run``."""
        given = self.given
        places = BAD[case][1]
        filler, reader = await connect("127.0.0.1", self.node.port), await connect("127.0.0.1", self.node.port)
        await declare(filler, "outbox", "success")
        for queue in ("outbox", "success"):
            await filler.call(commands.Queue.Purge(queue=queue))
        first_bad = given.messages // 2 if case == "huge" else 0
        bodies = mixed(given.size, given.domains, places, given.every, first_bad=first_bad)
        count = given.messages * given.every // (given.every - 1) + 1 + first_bad if places else given.messages
        if not given.offered:
            await fill(filler, "outbox", bodies, count)
        extra = ["rabbitmq-results=", "shutdown-timeout=1", *given.set]
        settings = settings_for(self.node.url, self.port, self.dns_port, extra)
        async with asyncio.TaskGroup() as tasks:
            with RelayqProcess(settings) as relayq:
                offering = None
                if given.offered:
                    per_second = given.offered * count / (given.messages + first_bad)
                    offering = tasks.create_task(offer(filler, bodies, count, per_second))
                figures = await self._watch(relayq, reader)
            if offering is not None:
                offering.cancel()
        for amqp in (filler, reader):
            amqp.transport.close()
        return figures

    async def _watch(self, relayq: RelayqProcess, reader: RawAmqp) -> Figures:
        """From the first to the last of what is measured."""
        first, last = (int(self.given.messages * part) for part in (WARM, DONE))
        taken: list[float] = []
        edges: list[tuple[float, float, float, float]] = []
        finished = asyncio.Event()

        def take(tag: int, body: bytes) -> None:
            del tag
            result = json.loads(body)
            if GOOD not in result["recipient"] or finished.is_set():
                return
            taken.append(time.time() - result["at"])
            if len(taken) in (first, last):
                edges.append(self._snapshot(relayq))
            if len(taken) == last:
                finished.set()

        reader.on_deliver = take
        await reader.call(commands.Basic.Consume(queue="success", no_ack=True))
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await finished.wait()
        except TimeoutError:
            raise SystemExit(f"{len(taken)} of {last} messages:\n{relayq.log.read_text()[-3000:]}") from None
        spent = [(after - before) / (last - first) for before, after in zip(*edges, strict=True)]
        latencies = sorted(taken[first:])
        seconds, relayq_cpu, broker_cpu, sinks_cpu = spent
        p50, p99 = (latencies[int(len(latencies) * part)] for part in (0.5, 0.99))
        return Figures(1 / seconds, relayq_cpu, broker_cpu, sinks_cpu, p50, p99)


async def measure(given: argparse.Namespace, node: RabbitMqNode, sinks: Sequence[SmtpSink]) -> list[dict[str, object]]:
    """Every case as often as wanted, in turn."""
    dns_port, _, dns = await serve_dns()
    bench = Bench(given, node, sinks, sinks[0].port, dns_port)
    cases = [case for case in BAD if not given.case or case in given.case or case == NONE]
    runs: dict[str, list[Figures]] = {case: [] for case in cases}
    for _ in range(given.runs):
        for case in cases:
            figures = await bench.run(case)
            runs[case].append(figures)
            print(f"{BAD[case][0]:42} {_shown(figures)}", flush=True)
    dns.close()
    medians = {case: Figures(*(median(values) for values in zip(*own, strict=True))) for case, own in runs.items()}
    base = medians[NONE]
    return [
        {
            "what": BAD[case][0],
            "per_second": own.per_second,
            "share": own.per_second / base.per_second,
            "cpu_share": base.cpu / own.cpu,
            "own_us": own.relayq * 1e6,
            "broker_us": own.broker * 1e6,
            "sinks_us": own.sinks * 1e6,
            "p50_ms": own.p50 * 1e3,
            "p99_ms": own.p99 * 1e3,
        }
        for case, own in medians.items()
    ]


def _shown(figures: Figures) -> str:
    parts = (figures.relayq, figures.broker, figures.sinks)
    return f"{figures.per_second:6.0f}/s, CPU in µs: " + " + ".join(f"{part * 1e6:.0f}" for part in parts)


@contextlib.contextmanager
def silent(address: str, port: int) -> Iterator[None]:
    """A port where the kernel accepts connections and nobody ever says anything."""
    with socket.create_server((address, port), backlog=1024):
        yield


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000, help="for the good destinations (20000)")
    parser.add_argument("--domains", type=int, default=10_000, help="good ones (10000)")
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--every", type=int, default=10, metavar="N", help="one of N messages is for a bad one (10)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--case", action="append", choices=sorted(BAD), help="only these, and none; repeatable")
    parser.add_argument("--offered", type=float, default=0.0, metavar="N", help="messages per second to the others")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(RabbitMqNode(memory_bytes=4 << 30))
        sinks = [stack.enter_context(SmtpSink(max_connections=1000))]
        for place, options in SINKS.items():
            sinks.append(stack.enter_context(SmtpSink(*options, address=f"127.0.0.{place}", port=sinks[0].port)))
        stack.enter_context(silent(f"127.0.0.{SILENT_PLACE}", sinks[0].port))
        cases = uvloop.run(measure(given, node, sinks))
    print("\nmedians:")
    for case in cases:
        print(
            f"  {case['what']:42} {case['per_second']:6.0f}/s  x {case['share']:.2f}  by CPU x {case['cpu_share']:.2f}"
            f"  p99 {case['p99_ms']:.0f} ms"
        )
    if given.json:
        figures = {
            "messages": given.messages,
            "domains": given.domains,
            "size": given.size,
            "every": given.every,
            "offered": given.offered,
            "cases": cases,
        }
        write_record(given.json, "fairness", figures, where=where, settings=given.set)


if __name__ == "__main__":
    main()
