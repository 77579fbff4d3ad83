"""relayq beside other mail servers: the same mail, the same sink, the same machine, one after the other.

Each is filled with all messages while it may not send, then let go; counted is what Postfix's smtp-sink has taken,
between 5 % and 100 % of the messages. CPU is what the kernel accounts to all processes of a server meanwhile. relayq's
queue is RabbitMQ, whose CPU is given beside its own; it stops counting when the results are confirmed.

    python -m benchmarks.peers                          # 10 KB, 20,000 messages, all that are installed
    python -m benchmarks.peers --only relayq postfix --messages 5000
    python -m benchmarks.peers --json benchmarks/results/peers.json
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks.macro import Bench
from benchmarks.peer_servers import PEERS, Peer
from benchmarks.record import machine, write_record
from benchmarks.support import end_in_order, median, serve_dns
from tests.support.servers import RabbitMqNode, SmtpSink

WARM_SHARE = 0.05
POLL_SECONDS = 0.02
GIVE_UP_SECONDS = 300.0
TAIL = 200  # octets of the sink's running counter that are read


@dataclass(frozen=True, slots=True)
class Run:
    """One server, drained once.

    Attributes:
        name: Of the server and its way of running.
        durability: What its queue survives.
        messages: How many it was given.
        per_second: Messages taken by the sink.
        own_us: CPU of its processes per message, in µs.
        broker_us: CPU of RabbitMQ per message, in µs; 0 for all but relayq.
    """

    name: str
    durability: str
    messages: int
    per_second: float
    own_us: float
    broker_us: float = 0.0


class CountingSink(SmtpSink):
    """smtp-sink that tells how many messages it has taken."""

    def __init__(self) -> None:
        super().__init__("-c", max_connections=1000)

    def taken(self) -> int:
        """Messages so far."""
        with self.output.open("rb") as file:
            file.seek(max(0, self.output.stat().st_size - TAIL))
            counts = re.findall(rb"mesg=(\d+)", file.read())
        return int(counts[-1]) if counts else 0


def drain(kind: type[Peer], messages: int, size: int) -> Run:
    """Fill one server, let it go, and wait until the sink has everything."""
    messages = min(messages, kind.most_messages or messages)
    with CountingSink() as sink:
        peer = kind(sink.port)
        try:
            peer.fill(messages, size)
            peer.release()
            first = _wait(sink, int(messages * WARM_SHARE), kind.name)
            start, cpu = time.perf_counter(), peer.cpu_seconds()
            last = _wait(sink, messages, kind.name)
            seconds, cpu = time.perf_counter() - start, peer.cpu_seconds() - cpu
        finally:
            peer.close()
    done = last - first
    return Run(kind.name, kind.durability, messages, done / seconds, cpu / done * 1e6)


def _wait(sink: CountingSink, count: int, name: str) -> int:
    limit = time.monotonic() + GIVE_UP_SECONDS
    while (taken := sink.taken()) < count:
        if time.monotonic() > limit:
            raise SystemExit(f"{name}: stopped at {taken} of {count} messages")
        time.sleep(POLL_SECONDS)
    return taken


async def _relayq(given: argparse.Namespace, node: RabbitMqNode) -> Run:
    dns_port, _, dns = await serve_dns()
    try:
        with CountingSink() as sink:
            figures = await Bench(given, node, sink, dns_port).product()
    finally:
        dns.close()
    return Run(
        "relayq, queue in RabbitMQ",
        "persistent messages, all published copies confirmed",
        given.messages,
        figures["per_second"],
        figures["own_us"],
        figures["broker_us"],
    )


def summarise(runs: list[Run]) -> list[Run]:
    """The median of each server's runs, in the order of the first ones."""
    names = list(dict.fromkeys(run.name for run in runs))
    summary = []
    for name in names:
        own = [run for run in runs if run.name == name]
        summary.append(
            Run(
                name,
                own[0].durability,
                own[0].messages,
                median([run.per_second for run in own]),
                median([run.own_us for run in own]),
                median([run.broker_us for run in own]),
            )
        )
    return summary


def table(runs: list[Run]) -> str:
    """Markdown."""
    lines = [
        "| Server | messages | msg/s | own CPU, µs | broker CPU, µs | its queue |",
        "|---|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {run.name} | {run.messages:,} | {run.per_second:,.0f} | {run.own_us:,.0f} "
        f"| {_or_dash(run.broker_us)} | {run.durability} |"
        for run in runs
    ]
    return "\n".join(lines)


def _or_dash(value: float) -> str:
    return f"{value:,.0f}" if value else "–"


def main() -> None:
    """Measure and print."""
    end_in_order()
    kinds = {kind.__name__.lower(): kind for kind in PEERS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000, help="messages per run (20000)")
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=["relayq", *kinds], help="these servers")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of relayq")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    given.domains, given.queued, given.profile, given.workers = 1, 0, None, 1
    wanted = given.only or ["relayq", *kinds]
    print(f"{given.messages} messages of {given.size} octets, Python {platform.python_version()}", flush=True)
    runs: list[Run] = []
    for _ in range(given.runs):
        if "relayq" in wanted:
            with RabbitMqNode(memory_bytes=4 << 30) as node:
                runs.append(uvloop.run(_relayq(given, node)))
            print(runs[-1], flush=True)
        for name, kind in kinds.items():
            if name not in wanted:
                continue
            if not kind.is_installed():
                print(f"{kind.name}: not installed (scripts/install-test-servers)")
                continue
            runs.append(drain(kind, given.messages, given.size))
            print(runs[-1], flush=True)
    summary = summarise(runs)
    print(f"\n{table(summary)}")
    if given.json:
        figures = {"size": given.size, "runs": given.runs, "servers": [asdict(run) for run in summary]}
        write_record(given.json, "peers", figures, where=where, settings=given.set)


if __name__ == "__main__":
    main()
