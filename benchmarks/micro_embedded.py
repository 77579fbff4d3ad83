"""Embedded broker: messages per second through publish, consume and settle with two publications.

    python benchmarks/micro_embedded.py [--messages 20000] [--prefetch 300] [--path /somewhere/bench.db]

Every message is 10 KB, as is each of the two results that follow from it, and everything is durable. CPU figures are
per message: of the event loop's thread, which SMTP shares, and of the whole process. ``--busy`` burns that many
microseconds per message on the event loop, standing in for the SMTP engine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import uvloop

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.ports import OutboxItem, Properties, Publication, QueueRole

BODY = b'{"recipient":"someone@example.test","mime":"' + b"x" * 10_200 + b'"}'
SESSIONS = 20
PROPERTIES = Properties(message_id="benchmark")


class Figures:
    """Wall clock, CPU of this thread and CPU of the process, from construction on."""

    def __init__(self) -> None:
        self._wall, self._thread, self._process = time.perf_counter(), time.thread_time(), time.process_time()

    def print(self, what: str, messages: int) -> None:
        """One line for ``messages`` messages."""
        wall = time.perf_counter() - self._wall
        thread, process = time.thread_time() - self._thread, time.process_time() - self._process
        print(
            f"{what:28} {messages / wall:8.0f} msg/s   event loop {thread / messages * 1e6:5.1f} µs"
            f"   process {process / messages * 1e6:6.1f} µs"
        )


def publication(queue: str) -> Publication:
    """A message of the size that counts."""
    return Publication(queue=queue, body=BODY, properties=PROPERTIES, role=QueueRole.RESULT)


def burn(seconds: float) -> None:
    """Keep the event loop's thread busy."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def publish(broker: EmbeddedBroker, messages: int, batch: int) -> None:
    """Fill the outbox as ``relayq inject`` does."""
    figures = Figures()
    for _ in range(messages // batch):
        await broker.publish([publication("outbox") for _ in range(batch)])
    figures.print(f"publish, {batch} at a time", messages)


async def drain(broker: EmbeddedBroker, messages: int, prefetch: int, busy: float) -> None:
    """Consume everything with a few sessions that take turns; each message is settled with two results."""
    work: asyncio.Queue[OutboxItem] = asyncio.Queue()
    settlements: list[asyncio.Future[None]] = []

    async def session() -> None:
        while True:
            item = await work.get()
            burn(busy / 2)
            await asyncio.sleep(0)
            burn(busy / 2)
            settlements.append(asyncio.ensure_future(broker.settle(item, RESULTS)))
            if len(settlements) == messages:
                finished.set()

    finished = asyncio.Event()
    figures = Figures()
    sessions = [asyncio.create_task(session()) for _ in range(SESSIONS)]
    consumption = await broker.consume("outbox", prefetch, work.put_nowait)
    await finished.wait()
    await asyncio.gather(*settlements)
    figures.print(f"consume, settle, {busy * 1e6:.0f} µs work", messages)
    await consumption.cancel()
    for task in sessions:
        task.cancel()


RESULTS = (publication("results"), publication("success"))


async def run(options: argparse.Namespace, path: Path) -> None:
    """All measurements, one after the other."""
    broker = EmbeddedBroker(
        EmbeddedOptions(path=str(path)), RecordingListener(), SystemClock(), lambda _level, text: print(text)
    )
    await broker.open()
    await publish(broker, options.messages, 100)
    await drain(broker, options.messages, options.prefetch, options.busy / 1e6)
    depths = await broker.queue_depths()
    await broker.close()
    assert depths["results"].ready == depths["success"].ready == options.messages, depths
    assert "outbox" not in depths, depths


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--prefetch", type=int, default=300)
    parser.add_argument("--busy", type=float, default=0.0, help="microseconds of other work per message")
    parser.add_argument("--path", type=Path, help="file to use; it must not exist")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.path or Path(folder) / "bench.db"
        uvloop.run(run(options, path))
        print(f"file: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
