"""One worker against two, where signing is the work: outbox, DKIM with RSA-2048, smtp-sink, results.

The broker is not the limit then: a signature costs far more than everything RabbitMQ does for a message. Each run
drains the same messages; runs with one worker and with several alternate. Helper threads of a worker share the cores
that no worker has; ``--pin`` allows relayq, threads and all, only as many cores as it has workers.

Also measured: seconds from the start of the process to the first mail received, and from SIGTERM under load to its end.

    python -m benchmarks.workers                       # RSA-2048, one and two workers, three runs each
    python -m benchmarks.workers --workers 1 2 4 --no-dkim
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pamqp import commands

from benchmarks.macro import settings_for
from benchmarks.raw_amqp import RawAmqp, connect, declare, depth, fill
from benchmarks.record import machine, write_record
from benchmarks.support import RelayqProcess, end_in_order, message_bodies, serve_dns
from benchmarks.turns import Figures, medians_of, run_in_turn, show
from tests.support.servers import RabbitMqNode, SmtpSink

WARM_SHARE = 0.1
POLL_SECONDS = 0.02
GIVE_UP_SECONDS = 300.0
FORM = "9.2f"


def signed_bodies(size: int, signatures: int) -> Callable[[int], bytes]:
    """Outbox messages that ask for RSA-2048 signatures."""
    keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(signatures)]
    forms = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    member = json.dumps(
        [
            {"domain": "shop.test", "selector": f"s{number}", "key": key.private_bytes(*forms).decode()}
            for number, key in enumerate(keys)
        ]
    )
    plain = message_bodies(size, 10)
    return lambda number: plain(number)[:-1] + f',"dkim":{member}}}'.encode()


async def until(amqp: RawAmqp, relayq: RelayqProcess, count: int) -> int:
    """Results there are once there are so many."""
    limit = time.monotonic() + GIVE_UP_SECONDS
    while (done := await depth(amqp, "results")) < count:
        if not relayq.is_running or time.monotonic() > limit:
            raise SystemExit(f"stopped at {done} of {count} results:\n{relayq.log.read_text()[-3000:]}")
        await asyncio.sleep(POLL_SECONDS)
    return done


class Bench:
    """One broker, one sink, one DNS server for all runs."""

    def __init__(self, given: argparse.Namespace, node: RabbitMqNode, sink: SmtpSink, dns_port: int) -> None:
        self.given = given
        self.node = node
        self.sink = sink
        self.dns_port = dns_port
        self.bodies = message_bodies(given.size, 10) if given.no_dkim else signed_bodies(given.size, given.signatures)

    async def run(self, workers: int) -> Figures:
        """Drain once."""
        amqp = await connect("127.0.0.1", self.node.port)
        await declare(amqp, "outbox", "results", "success")
        for queue in ("outbox", "results", "success"):
            await amqp.call(commands.Queue.Purge(queue=queue))
        await fill(amqp, "outbox", self.bodies, self.given.messages)
        extra = [f"smtp-threads={workers}", *self.given.set]
        settings = settings_for(self.node.url, self.sink.port, self.dns_port, extra)
        count = self.given.messages
        started = time.perf_counter()
        with RelayqProcess(settings) as relayq:
            if self.given.pin:
                os.sched_setaffinity(relayq.pid, sorted(os.sched_getaffinity(0))[:workers])
            await until(amqp, relayq, 1)
            first_result = time.perf_counter() - started
            first = await until(amqp, relayq, int(count * WARM_SHARE))
            begin, cpu = time.perf_counter(), relayq.cost.cpu_seconds()
            last = await until(amqp, relayq, int(count * 0.9))
            seconds, cpu = time.perf_counter() - begin, relayq.cost.cpu_seconds() - cpu
            stopping = time.perf_counter()
            await asyncio.to_thread(relayq.stop)
            stopped = time.perf_counter() - stopping
        amqp.transport.close()
        done = last - first
        return {
            "per_second": done / seconds,
            "own_us": cpu / done * 1e6,
            "first_result_s": first_result,
            "stop_s": stopped,
        }


async def measure(given: argparse.Namespace, node: RabbitMqNode, sink: SmtpSink) -> dict[int, list[Figures]]:
    """All runs, in turn."""
    dns_port, _, dns = await serve_dns()
    bench = Bench(given, node, sink, dns_port)
    results = await run_in_turn(bench.run, given.workers, given.runs, FORM)
    dns.close()
    return results


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--signatures", type=int, default=1, help="RSA-2048 signatures per message (1)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pin", action="store_true", help="as many cores as workers, for the helper threads too")
    parser.add_argument("--no-dkim", action="store_true", help="without signatures: the broker is the limit")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{given.messages} messages, Python {platform.python_version()}, {os.cpu_count()} cores, load before {load}")
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(RabbitMqNode(memory_bytes=4 << 30))
        sink = stack.enter_context(SmtpSink(max_connections=1000))
        results = uvloop.run(measure(given, node, sink))
    print("\nmedians:")
    summary: list[dict[str, float]] = []
    base = medians_of(results[given.workers[0]])
    for workers, runs in results.items():
        medians = medians_of(runs)
        times = medians["per_second"] / base["per_second"]
        by_cpu = workers / given.workers[0] * base["own_us"] / medians["own_us"]
        print(f"  {workers} worker(s)  {show(medians, FORM)}  x {times:.2f}, by CPU per message x {by_cpu:.2f}")
        summary.append({"workers": workers} | medians | {"times": times, "by_cpu": by_cpu})
    if given.json:
        about = {"messages": given.messages, "size": given.size, "dkim": not given.no_dkim, "pinned": given.pin}
        write_record(given.json, "workers", about | {"medians": summary}, where=where, settings=given.set)


if __name__ == "__main__":
    main()
