"""From injection to result on the embedded broker, every message durable: no RabbitMQ anywhere.

Starts ``relayq run`` on an empty database file and Postfix's smtp-sink; this process injects through the same file, as
``relayq inject`` does, while the server delivers. The clock runs from the first injection to the last result.

    python -m benchmarks.embedded
    python -m benchmarks.embedded --messages 20000 --size 1024 --runs 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from benchmarks.support import RelayqProcess, end_in_order, median, message_bodies, serve_dns
from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.ports import Properties, Publication, QueueRole
from tests.support.servers import SmtpSink

BATCH = 200
GIVE_UP_SECONDS = 300.0


async def run(messages: int, size: int, domains: int, sink: SmtpSink) -> dict[str, float]:
    """One run; figures of the server process."""
    dns_port, _, dns = await serve_dns()
    bodies = message_bodies(size, domains)
    with tempfile.TemporaryDirectory(prefix="relayq-bench-") as folder:
        file = Path(folder) / "relayq.db"
        broker = EmbeddedBroker(
            EmbeddedOptions(path=str(file)), RecordingListener(), SystemClock(), lambda level, text: None
        )
        await broker.open()
        settings = {
            "rabbitmq-address": f"embedded://{file}",
            "rabbitmq-results": "results",
            "rabbitmq-success": "success",
            "dns-nameservers": f"127.0.0.1:{dns_port}",
            "smtp-out-port": str(sink.port),
            "smtp-out-hostname": "bench.test",
        }
        with RelayqProcess(settings) as relayq:
            await _until(lambda: "delivering from" in relayq.log.read_text(), relayq)
            before, started = relayq.cost.cpu_seconds(), time.perf_counter()
            for start in range(0, messages, BATCH):
                numbers = range(start, min(start + BATCH, messages))
                await broker.publish([_publication(bodies(number)) for number in numbers])
            injected = time.perf_counter() - started

            async def all_there() -> bool:
                depths = await broker.queue_depths()
                return "results" in depths and depths["results"].ready >= messages

            limit = time.monotonic() + GIVE_UP_SECONDS
            while not await all_there():
                if time.monotonic() > limit or not relayq.is_running:
                    raise SystemExit(relayq.log.read_text()[-2000:])
                await asyncio.sleep(0.05)
            seconds, cpu = time.perf_counter() - started, relayq.cost.cpu_seconds() - before
            peak = relayq.cost.peak_mib()
        await broker.close()
    dns.close()
    return {
        "per_second": messages / seconds,
        "injected_per_second": messages / injected,
        "own_us": cpu / messages * 1e6,
        "peak_mib": peak,
    }


async def _until(condition: Callable[[], bool], relayq: RelayqProcess) -> None:
    limit = time.monotonic() + 20
    while not condition():
        if time.monotonic() > limit or not relayq.is_running:
            raise SystemExit(relayq.log.read_text())
        await asyncio.sleep(0.05)


def _publication(body: bytes) -> Publication:
    return Publication(queue="outbox", body=body, properties=Properties(), role=QueueRole.OUTBOX)


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=10_240)
    parser.add_argument("--domains", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(
        f"{given.messages} messages of {given.size} octets to {given.domains} domains, embedded broker, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores shared with injector and smtp-sink"
    )
    runs = []
    with SmtpSink(max_connections=1000) as sink:
        for number in range(given.runs):
            runs.append(uvloop.run(run(given.messages, given.size, given.domains, sink)))
            print(
                f"run {number + 1}  " + "  ".join(f"{key} {value:9.1f}" for key, value in runs[-1].items()), flush=True
            )
    summary = {key: median([figures[key] for figures in runs]) for key in runs[0]}
    print("median " + "  ".join(f"{key} {value:9.1f}" for key, value in summary.items()))
    if given.json:
        given.json.write_text(json.dumps({"summary": summary, "runs": runs}, indent=2))


if __name__ == "__main__":
    main()
