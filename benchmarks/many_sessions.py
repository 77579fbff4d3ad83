"""Two thousand SMTP sessions to a slow server at once, in one worker: how late the event loop runs, and its memory.

One process is the worker (in-memory broker, real sockets), another a sink that takes its time to answer the content.
A task in the worker sleeps 10 ms at a time and notes by how much it was late.

    python -m benchmarks.many_sessions
    python -m benchmarks.many_sessions --sessions 2000 --messages 6000 --slow 2
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks.support import Child, end_in_order, message_bodies
from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import MemoryBroker, MemoryResolver, RecordingObserver
from relayq.adapters.memory.observer import SessionClosed, SessionOpened
from relayq.app import Worker, World, spare_the_collector
from relayq.config import load, parse_options
from relayq.ports import Properties, Publication, QueueRole
from tests.support.ports import free_port
from tests.support.processes import is_listening

TICK_SECONDS = 0.01
GIVE_UP_SECONDS = 120.0
DOMAINS = 50


async def run(sessions: int, messages: int, size: int, port: int) -> dict[str, float]:
    """Deliver everything; figures of this process."""
    clock = SystemClock()
    resolver = MemoryResolver(clock, warm=True)
    for number in range(DOMAINS):
        resolver.set_mx(f"d{number}.test", [(10, "mx.test")])
    resolver.set_addresses("mx.test", "127.0.0.1")
    settings = load(
        parse_options([
            "--rabbitmq-results=results", f"--smtp-out-port={port}", "--smtp-out-hostname=bench.test",
            "--ip-maxconnections=0", f"--smtp-connections={sessions}", f"--rabbitmq-qos={sessions + 500}",
            "--rabbitmq-minqos=100", "--journal-directory=", "--domain-maxqueue=100000",
        ]), no_default_config=True, system_hostname=lambda: "bench.test",
    )  # fmt: skip
    observer = RecordingObserver()
    worker = Worker(
        settings,
        observer=observer,
        world=World(resolver=resolver, broker=lambda listener: MemoryBroker(clock, listener), clock=clock),
    )
    broker = worker.broker
    assert isinstance(broker, MemoryBroker)
    bodies = message_bodies(size, DOMAINS)
    await broker.publish(
        [
            Publication(queue="outbox", body=bodies(number), properties=Properties(), role=QueueRole.OUTBOX)
            for number in range(messages)
        ]
    )
    spare_the_collector()
    lags: list[float] = []
    ticking = asyncio.create_task(_tick(lags))
    started = time.perf_counter()
    await worker.start()
    most = 0
    limit = time.monotonic() + GIVE_UP_SECONDS
    while len(broker.ready("results")) < messages and time.monotonic() < limit:
        await asyncio.sleep(0.1)
        most = max(most, len(observer.all_of(SessionOpened)) - len(observer.all_of(SessionClosed)))
    seconds = time.perf_counter() - started
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    done = len(broker.ready("results"))
    await worker.stop()
    lags.sort()
    return {
        "results": done,
        "seconds": seconds,
        "most_sessions": most,
        "lag_p50_ms": lags[len(lags) // 2] * 1000,
        "lag_p99_ms": lags[int(len(lags) * 0.99)] * 1000,
        "lag_max_ms": lags[-1] * 1000,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


async def _tick(lags: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK_SECONDS)
        lags.append(time.perf_counter() - before - TICK_SECONDS)


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--size", type=int, default=10_240)
    parser.add_argument("--slow", type=float, default=2.0, help="seconds the server takes to answer the content")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = free_port("127.0.0.1")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "slow.sink"
        script.write_text(f"message * slow={given.slow} 250 2.0.0 at last\n")
        sink = Child(
            [sys.executable, "-m", "relayq", "sink", "--listen", f"127.0.0.1:{port}", "--script", str(script)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not is_listening("127.0.0.1", port):
                time.sleep(0.05)
            figures = uvloop.run(run(given.sessions, given.messages, given.size, port))
        finally:
            sink.terminate()
            sink.wait(10)
    print(json.dumps({key: round(value, 1) for key, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
