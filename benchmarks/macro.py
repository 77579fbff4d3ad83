"""From a full outbox through Postfix's smtp-sink to confirmed results, beside the barest possible loop.

Starts a private RabbitMQ node and smtp-sink on loopback, fills the outbox, and lets ``relayq run`` and
``benchmarks/ceiling.py`` drain it in turn. Queues are durable, messages persistent, ``results`` and ``success`` are
both written with confirms. CPU is what the kernel accounts to each process between 5 % and 100 % of the messages.

    python -m benchmarks.macro                         # 10 KB, three runs
    python -m benchmarks.macro --size 1024 --domains 5000 --messages 20000
    python -m benchmarks.macro --queued 200000 --messages 20000 --runs 1
    python -m benchmarks.macro --json benchmarks/results/macro.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import uvloop
from pamqp import commands

from benchmarks.raw_amqp import RawAmqp, connect, declare, depth, fill
from benchmarks.record import machine, write_record
from benchmarks.support import Cost, RelayqProcess, end_in_order, idle_seconds, median, message_bodies, serve_dns
from tests.support.servers import RabbitMqNode, SmtpSink

POLL_SECONDS = 0.02
WARM_SHARE = 0.05
LATENCY_RATE = 500
LATENCY_MESSAGES = 2500
GIVE_UP_SECONDS = 300.0


def settings_for(broker: str, sink_port: int, dns_port: int, extra: list[str]) -> dict[str, str]:
    """Configuration of the measured process."""
    settings = {
        "rabbitmq-address": broker,
        "rabbitmq-results": "results",
        "rabbitmq-success": "success",
        "dns-nameservers": f"127.0.0.1:{dns_port}",
        "smtp-out-port": str(sink_port),
        "smtp-out-hostname": "bench.test",
    }
    for item in extra:
        key, _, value = item.partition("=")
        settings[key] = value
    return settings


class Receiver(Protocol):
    """An SMTP server that takes the mail."""

    @property
    def pid(self) -> int | None:
        """Its process id."""
        ...

    port: int


class Bench:
    """One broker, one sink, one DNS server for all runs."""

    def __init__(self, given: argparse.Namespace, node: RabbitMqNode, sink: Receiver, dns_port: int) -> None:
        self.given = given
        self.node = node
        self.sink = sink
        self.dns_port = dns_port
        self.node_cost = Cost(int(node.pid))
        assert sink.pid is not None
        self.sink_cost = Cost(sink.pid)
        self.bodies = message_bodies(given.size, given.domains)

    async def prepare(self, count: int) -> RawAmqp:
        """Empty result queues and ``count`` messages in the outbox; returns the connection."""
        amqp = await connect("127.0.0.1", self.node.port)
        await declare(amqp, "outbox", "results", "success")
        for queue in ("outbox", "results", "success"):
            await amqp.call(commands.Queue.Purge(queue=queue))
        await fill(amqp, "outbox", self.bodies, count)
        return amqp

    async def product(self) -> dict[str, float]:
        """One run of ``relayq run``."""
        given = self.given
        amqp = await self.prepare(max(given.messages, given.queued))
        settings = settings_for(self.node.url, self.sink.port, self.dns_port, given.set)
        with RelayqProcess(settings, profile_to=given.profile) as relayq:
            first = await self.until(amqp, relayq, int(given.messages * WARM_SHARE))
            start = self._snapshot(relayq)
            last = await self.until(amqp, relayq, given.messages)
            end = self._snapshot(relayq)
            peak = relayq.cost.peak_mib()
        amqp.transport.close()
        done = last - first
        seconds, own, broker, sink, idle = (after - before for before, after in zip(start, end, strict=True))
        return {
            "per_second": done / seconds,
            "own_us": own / done * 1e6,
            "broker_us": broker / done * 1e6,
            "sink_us": sink / done * 1e6,
            "idle_share": idle / seconds / (os.cpu_count() or 1),
            "peak_mib": peak,
        }

    def _snapshot(self, relayq: RelayqProcess) -> tuple[float, float, float, float, float]:
        return (
            time.perf_counter(),
            relayq.cost.cpu_seconds(),
            self.node_cost.cpu_seconds(),
            self.sink_cost.cpu_seconds(),
            idle_seconds(),
        )

    async def until(self, amqp: RawAmqp, relayq: RelayqProcess, count: int) -> int:
        """Results there are once there are so many."""
        limit = time.monotonic() + GIVE_UP_SECONDS
        while (done := await depth(amqp, "results")) < count:
            if not relayq.is_running or time.monotonic() > limit:
                raise SystemExit(f"stopped at {done} of {count} results:\n{relayq.log.read_text()[-3000:]}")
            await asyncio.sleep(POLL_SECONDS)
        return done

    async def ceiling(self) -> dict[str, float]:
        """One run of the bare loop."""
        amqp = await self.prepare(self.given.messages)
        amqp.transport.close()
        broker, sink = self.node_cost.cpu_seconds(), self.sink_cost.cpu_seconds()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.ceiling",
            "--amqp", f"127.0.0.1:{self.node.port}", "--smtp", f"127.0.0.1:{self.sink.port}",
            "--messages", str(self.given.messages), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(GIVE_UP_SECONDS):
            out, _ = await process.communicate()
        figures = json.loads(out)
        count = figures["messages"]
        return {
            "per_second": count / figures["seconds"],
            "own_us": figures["cpu_seconds"] / count * 1e6,
            "broker_us": (self.node_cost.cpu_seconds() - broker) / count * 1e6,
            "sink_us": (self.sink_cost.cpu_seconds() - sink) / count * 1e6,
        }

    async def latency(self) -> dict[str, float]:
        """Milliseconds from publish to result at a rate far below the limit."""
        amqp = await self.prepare(0)
        reader = await connect("127.0.0.1", self.node.port)
        seen: list[float] = []
        finished = asyncio.Event()

        def take(tag: int, body: bytes) -> None:
            seen.append(time.time() - json.loads(body)["at"])
            if len(seen) == LATENCY_MESSAGES:
                finished.set()

        reader.on_deliver = take
        settings = settings_for(self.node.url, self.sink.port, self.dns_port, self.given.set)
        with RelayqProcess(settings) as relayq:
            await fill(amqp, "outbox", self.bodies, 50)
            await self.until(amqp, relayq, 50)
            await amqp.call(commands.Queue.Purge(queue="results"))
            await reader.call(commands.Basic.Consume(queue="results", no_ack=True))
            for number in range(LATENCY_MESSAGES):
                amqp.transport.write(amqp.publish_frames(b"outbox", self.bodies(number)))
                await asyncio.sleep(1 / LATENCY_RATE)
            async with asyncio.timeout(60):
                await finished.wait()
        amqp.transport.close()
        reader.transport.close()
        seen.sort()
        return {
            "p50_ms": seen[len(seen) // 2] * 1000,
            "p99_ms": seen[int(len(seen) * 0.99)] * 1000,
            "rate": float(LATENCY_RATE),
        }


async def measure(given: argparse.Namespace, node: RabbitMqNode, sink: SmtpSink) -> dict[str, Any]:
    """All runs, product and ceiling in turn."""
    dns_port, _, dns = await serve_dns()
    bench = Bench(given, node, sink, dns_port)
    product: list[dict[str, float]] = []
    ceiling: list[dict[str, float]] = []
    for number in range(given.runs):
        product.append(await bench.product())
        show(f"run {number + 1} relayq ", product[-1])
        if not given.no_ceiling:
            ceiling.append(await bench.ceiling())
            show(f"run {number + 1} ceiling", ceiling[-1])
    latency = await bench.latency() if given.latency else None
    dns.close()
    return {"product": product, "ceiling": ceiling, "latency": latency}


def show(name: str, figures: dict[str, float]) -> None:
    """One line for people."""
    print(f"{name}  " + "  ".join(f"{key} {value:9.2f}" for key, value in figures.items()), flush=True)


def summarise(results: dict[str, Any]) -> dict[str, float]:
    """Medians and ratios."""
    summary = {f"relayq_{key}": median([run[key] for run in results["product"]]) for key in results["product"][0]}
    if results["ceiling"]:
        pairs = zip(results["product"], results["ceiling"], strict=True)
        summary |= {f"ceiling_{key}": median([run[key] for run in results["ceiling"]]) for key in results["ceiling"][0]}
        summary["throughput_ratio"] = median([mine["per_second"] / bare["per_second"] for mine, bare in pairs])
    return summary


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000, help="messages drained per run (20000)")
    parser.add_argument("--queued", type=int, default=0, help="messages waiting in the outbox at the start, if more")
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--domains", type=int, default=1, help="recipient domains (1)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="worker processes (1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--no-ceiling", action="store_true")
    parser.add_argument("--latency", action="store_true", help="also measure latency at 500 messages/s")
    parser.add_argument("--profile", metavar="FILE", help="run relayq under cProfile (slow)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    given.set.append(f"smtp-threads={given.workers}")
    print(
        f"{given.messages} messages of {given.size} octets to {given.domains} domain(s), "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, RabbitMQ and smtp-sink on the same machine"
    )
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(RabbitMqNode(memory_bytes=4 << 30))
        sink = stack.enter_context(SmtpSink(max_connections=1000))
        results = uvloop.run(measure(given, node, sink))
    summary = summarise(results)
    print("\nmedians:")
    for key, value in summary.items():
        print(f"  {key:24} {value:10.2f}")
    if results["latency"]:
        show("latency", results["latency"])
    if given.json:
        about = {key: getattr(given, key) for key in ("messages", "queued", "size", "domains", "runs")}
        write_record(given.json, "macro", about | {"summary": summary} | results, where=where, settings=given.set)


if __name__ == "__main__":
    main()
