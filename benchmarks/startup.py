"""From the start of ``relayq run`` to the first mail: seconds on the wall, and CPU seconds of all its processes.

A message waits in the outbox, the process is started, and its mail comes in. Runs with different numbers of workers
alternate. "Ready" is when all workers consume, which the log says.

    python -m benchmarks.startup                        # on RabbitMQ, with 1, 2 and 4 workers, five runs each
    python -m benchmarks.startup --embedded --json benchmarks/results/startup.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from pamqp import commands

from benchmarks.macro import settings_for
from benchmarks.raw_amqp import connect, declare, fill
from benchmarks.record import machine, write_record
from benchmarks.support import RelayqProcess, end_in_order, message_bodies, serve_dns
from benchmarks.turns import Figures, medians_of, run_in_turn, show
from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.ports import Properties, Publication, QueueRole
from relayq.trial import ReceivedMessage, Sink
from tests.support.servers import RabbitMqNode

POLL_SECONDS = 0.002
GIVE_UP_SECONDS = 60.0
READY = "delivering from"
FORM = "6.3f"


class Bench:
    """One receiver and one DNS server for all runs."""

    def __init__(self, given: argparse.Namespace, node: RabbitMqNode | None, dns_port: int) -> None:
        self.given = given
        self.node = node
        self.dns_port = dns_port
        self.arrived = 0
        self.bodies = message_bodies(10_240, 10)
        self.sink = Sink("127.0.0.1", 0, on_message=self._take)

    def _take(self, message: ReceivedMessage) -> None:
        self.arrived += 1

    async def run(self, workers: int) -> Figures:
        """Start once."""
        with tempfile.TemporaryDirectory(prefix="relayq-startup-") as folder:
            address = await self._give_message(Path(folder))
            extra = [f"smtp-threads={workers}", *self.given.set]
            settings = settings_for(address, self.sink.port, self.dns_port, extra)
            before = self.arrived
            started = time.perf_counter()
            with RelayqProcess(settings) as relayq:
                await self._until(relayq, lambda: self.arrived > before)
                first_mail, cpu = time.perf_counter() - started, relayq.cost.cpu_seconds()
                await self._until(relayq, lambda: READY in relayq.log.read_text())
                ready = time.perf_counter() - started
                figures = {"first_mail_s": first_mail, "cpu_s": cpu, "ready_s": ready}
                await asyncio.to_thread(relayq.stop)
        return figures

    async def _give_message(self, folder: Path) -> str:
        """Put a message into an outbox that is empty else; the address of its broker."""
        if self.node is not None:
            amqp = await connect("127.0.0.1", self.node.port)
            await declare(amqp, "outbox", "results", "success")
            await amqp.call(commands.Queue.Purge(queue="outbox"))
            await fill(amqp, "outbox", self.bodies, 1)
            amqp.transport.close()
            return self.node.url
        path = str(folder / "queues.db")
        broker = EmbeddedBroker(EmbeddedOptions(path=path), RecordingListener(), SystemClock(), lambda *_: None)
        await broker.open()
        mail = Publication(queue="outbox", body=self.bodies(0), properties=Properties(), role=QueueRole.OUTBOX)
        await broker.publish([mail])
        await broker.close()
        return f"embedded://{path}"

    async def _until(self, relayq: RelayqProcess, is_true: Callable[[], bool]) -> None:
        limit = time.monotonic() + GIVE_UP_SECONDS
        while not is_true():
            if not relayq.is_running or time.monotonic() > limit:
                raise SystemExit(f"nothing came:\n{relayq.log.read_text()[-3000:]}")
            await asyncio.sleep(POLL_SECONDS)


async def measure(given: argparse.Namespace, node: RabbitMqNode | None) -> dict[int, list[Figures]]:
    """All runs, in turn."""
    dns_port, _, dns = await serve_dns()
    bench = Bench(given, node, dns_port)
    await bench.sink.start()
    results = await run_in_turn(bench.run, given.workers, given.runs, FORM)
    await bench.sink.close()
    dns.close()
    return results


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--embedded", action="store_true", help="the embedded broker instead of RabbitMQ")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {where['load_before']}")
    with contextlib.ExitStack() as stack:
        node = None if given.embedded else stack.enter_context(RabbitMqNode())
        results = uvloop.run(measure(given, node))
    print("\nmedians:")
    summary: list[dict[str, float]] = []
    for workers, runs in results.items():
        medians = medians_of(runs)
        print(f"  {workers} worker(s)  {show(medians, FORM)}")
        summary.append({"workers": workers} | medians)
    if given.json:
        about = {"broker": "embedded" if given.embedded else "RabbitMQ", "runs": given.runs}
        write_record(given.json, "startup", about | {"medians": summary}, where=where, settings=given.set)


if __name__ == "__main__":
    main()
