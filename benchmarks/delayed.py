"""Messages that wait: what a million of them cost, how late they come, what a retry costs.

Starts a private RabbitMQ node on loopback and ``relayq run`` beside it. Queues are durable, messages persistent.

    python -m benchmarks.delayed waiting                # 1,000,000 messages of 1 KB wait; memory and CPU of relayq
    python -m benchmarks.delayed waiting --messages 100000 --seconds 20
    python -m benchmarks.delayed lateness               # due in 5 s and in 30 s, broker idle and under load
    python -m benchmarks.delayed behind                 # 100 due in 90 s, then one due in 3 s
    python -m benchmarks.delayed retry                  # CPU of 450-then-accepted beside accepted at once

``waiting``: relayq itself delays the first share (what that costs is printed), the rest is put where relayq would have
put it, because only the waiting is measured. ``lateness`` is the instant at which the mail was accepted minus the
message's due time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from pamqp import commands

from benchmarks.macro import settings_for
from benchmarks.raw_amqp import RawAmqp, connect, depth, fill
from benchmarks.support import Child, Cost, RelayqProcess, end_in_order, median, message_bodies, serve_dns
from relayq.trial import ReceivedMessage, Sink
from tests.support.ports import free_port
from tests.support.processes import is_listening
from tests.support.servers import RabbitMqNode

POLL_SECONDS = 0.05
GIVE_UP_SECONDS = 300.0
WARM_UP = 500
OWN_SHARE = 20
"""relayq delays one message in so many itself."""
FAR_SECONDS = 80_000


class Bench:
    """Broker, DNS and connection of all measurements."""

    def __init__(self, given: argparse.Namespace, node: RabbitMqNode, dns_port: int, amqp: RawAmqp) -> None:
        self.given = given
        self.node = node
        self.dns_port = dns_port
        self.amqp = amqp
        self.node_cost = Cost(int(node.pid))

    def relayq(self, sink_port: int, **settings: str) -> RelayqProcess:
        """A relayq of its own; the keyword arguments are settings with underscores."""
        extra = [f"{key.replace('_', '-')}={value}" for key, value in settings.items()]
        return RelayqProcess(settings_for(self.node.url, sink_port, self.dns_port, extra))

    async def until(self, relayq: RelayqProcess, is_reached: Callable[[], Any], what: str) -> None:
        """Look until the awaitable that ``is_reached`` makes is true."""
        limit = time.monotonic() + GIVE_UP_SECONDS
        while not await is_reached():
            if not relayq.is_running or time.monotonic() > limit:
                raise SystemExit(f"{what}: never\n{relayq.log.read_text()[-3000:]}")
            await asyncio.sleep(POLL_SECONDS)

    async def until_consumed(self, relayq: RelayqProcess) -> None:
        """Wait for an outbox with a consumer: relayq has started."""

        async def is_consumed() -> bool:
            reply = await self.amqp.call(commands.Queue.Declare(queue="outbox", durable=True))
            return bool(reply.consumer_count)

        await self.until(relayq, is_consumed, "relayq starts")

    async def until_depth(self, relayq: RelayqProcess, queue: str, count: int) -> None:
        """Wait until a queue has at least so many messages."""

        async def is_deep() -> bool:
            return await depth(self.amqp, queue) >= count

        await self.until(relayq, is_deep, f"{count} messages in {queue}")

    async def purge(self, *queues: str) -> None:
        """Empty queues that exist."""
        for queue in queues:
            await self.amqp.call(commands.Queue.Purge(queue=queue))


def resident_mib(pid: int) -> float:
    """Memory of a process now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def stamp(at: datetime) -> str:
    """As in the member ``delayed``."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def delayed_bodies(bodies: Callable[[int], bytes], due: Callable[[int], datetime]) -> Callable[[int], bytes]:
    """The same messages with a due time."""
    return lambda number: b'{"delayed":"%b",%b' % (stamp(due(number)).encode(), bodies(number)[1:])


# --- waiting ----------------------------------------------------------------------------------------------------------


async def waiting(bench: Bench) -> None:
    """A million messages that are due much later."""
    count = bench.given.messages or 1_000_000
    own = count // OWN_SHARE
    due_at = datetime.now(UTC) + timedelta(seconds=FAR_SECONDS + 300)
    bodies = delayed_bodies(message_bodies(1024, 50), lambda _: due_at)
    queue = f"outbox.delay.{FAR_SECONDS}"
    with bench.relayq(free_port()) as relayq:
        await bench.until_consumed(relayq)
        before = relayq.cost.cpu_seconds()
        await fill(bench.amqp, "outbox", bodies, own)
        await bench.until_depth(relayq, queue, own)
        used = relayq.cost.cpu_seconds() - before
        print(f"relayq delayed {own} messages itself: {used / own * 1e6:.0f} µs of its CPU each", flush=True)
        start_mib = resident_mib(relayq.cost.pid)
        started = time.monotonic()
        await fill(bench.amqp, queue, bodies, count - own, window=5000)
        print(f"{count - own} more put beside them in {time.monotonic() - started:.0f} s", flush=True)
        await bench.until_depth(relayq, queue, count)
        cpu, broker, began = relayq.cost.cpu_seconds(), bench.node_cost.cpu_seconds(), time.monotonic()
        await asyncio.sleep(bench.given.seconds)
        elapsed = time.monotonic() - began
        cpu, broker = relayq.cost.cpu_seconds() - cpu, bench.node_cost.cpu_seconds() - broker
        end_mib, peak_mib = resident_mib(relayq.cost.pid), relayq.cost.peak_mib()
        assert await depth(bench.amqp, queue) == count
    print(
        f"{count} delayed messages, {elapsed:.0f} s of waiting: relayq CPU {cpu / elapsed:.2%}, broker CPU "
        f"{broker / elapsed:.2%}\nmemory of relayq {start_mib:.1f} MiB before, {end_mib:.1f} MiB with all of them "
        f"(peak {peak_mib:.1f} MiB), of the broker {resident_mib(int(bench.node.pid)):.0f} MiB"
    )


# --- lateness ---------------------------------------------------------------------------------------------------------


class Arrivals:
    """When each message was accepted, by number."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}

    def __call__(self, message: ReceivedMessage) -> None:
        """Take note of a message; what is not measured is noted too, and not looked at."""
        number = int(str(message.recipients[0]).partition("@")[0].removeprefix("user"))
        self.at.setdefault(number, time.time())


async def lateness(bench: Bench) -> None:
    """Delays of 5 s and 30 s, on an idle broker and beside a stream of other mail."""
    count = bench.given.messages or 300
    arrivals = Arrivals()
    async with Sink("127.0.0.1", free_port(), on_message=arrivals, keep_content=False) as sink:
        with bench.relayq(sink.port) as relayq:
            await bench.until_consumed(relayq)
            for rate in (0, bench.given.rate):
                for seconds in (5, 30):
                    late = await measure_lateness(bench, relayq, arrivals, count, seconds, rate)
                    load = f"{rate} other messages/s" if rate else "idle broker"
                    print(
                        f"due in {seconds:2} s, {load:22}  earliest {late[0]:+.2f} s  median {median(late):.2f} s  "
                        f"p99 {late[int(len(late) * 0.99)]:.2f} s  latest {late[-1]:.2f} s",
                        flush=True,
                    )


async def measure_lateness(
    bench: Bench, relayq: RelayqProcess, arrivals: Arrivals, count: int, seconds: int, rate: int
) -> list[float]:
    """Seconds after the due time, ascending."""
    plain = message_bodies(2048, 20)
    dues: dict[int, float] = {}
    arrivals.at.clear()

    def due(number: int) -> datetime:
        # To be due at whole seconds is what the member can say; the messages are spread over some of them.
        at = datetime.fromtimestamp(int(time.time() + seconds + number % 5), UTC)
        dues[number] = at.timestamp()
        return at

    stop = asyncio.Event()
    load = asyncio.create_task(stream(bench, plain, rate, stop))
    await asyncio.sleep(1.0)
    other = await connect("127.0.0.1", bench.node.port)
    await fill(other, "outbox", delayed_bodies(plain, due), count)
    await bench.until(relayq, lambda: is_there(arrivals, count), "every delayed message arrives")
    stop.set()
    await load
    other.transport.close()
    return sorted(arrivals.at[number] - dues[number] for number in dues)


async def is_there(arrivals: Arrivals, count: int) -> bool:
    """Every measured message has arrived."""
    return all(number in arrivals.at for number in range(count))


async def stream(bench: Bench, bodies: Callable[[int], bytes], rate: int, stop: asyncio.Event) -> None:
    """So many messages a second, in small groups, until told to stop."""
    number = 1_000_000
    while rate and not stop.is_set():
        for _ in range(max(1, rate // 20)):
            bench.amqp.transport.write(bench.amqp.publish_frames(b"outbox", bodies(number)))
            number += 1
        await asyncio.sleep(1 / 20)


async def behind(bench: Bench) -> None:
    """One that is due soon, behind a hundred that are due much later."""
    arrivals = Arrivals()
    bodies = message_bodies(2048, 20)
    async with Sink("127.0.0.1", free_port(), on_message=arrivals, keep_content=False) as sink:
        with bench.relayq(sink.port) as relayq:
            await bench.until_consumed(relayq)
            far = datetime.now(UTC) + timedelta(seconds=90)
            await fill(bench.amqp, "outbox", delayed_bodies(bodies, lambda _: far), 100)
            near = datetime.fromtimestamp(int(time.time()) + 3, UTC)
            await fill(bench.amqp, "outbox", delayed_bodies(lambda _: bodies(100), lambda _: near), 1)

            async def is_here() -> bool:
                return 100 in arrivals.at

            await bench.until(relayq, is_here, "the short delay ends")
            late = arrivals.at[100] - near.timestamp()
    print(f"100 due in 90 s, then one due in 3 s: it came {late:+.2f} s after its time, {len(arrivals.at) - 1} others")


# --- retry ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sink_process(script: str) -> Iterator[int]:
    """``relayq sink`` with a script; its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="relayq-bench-") as folder:
        path = Path(folder) / "script"
        path.write_text(script + "\n")
        command = [sys.executable, "-m", "relayq", "sink", f"--listen=127.0.0.1:{port}", f"--script={path}"]
        process = Child(command, stdout=subprocess.DEVNULL)
        try:
            limit = time.monotonic() + 20
            while not is_listening("127.0.0.1", port):
                if time.monotonic() > limit:
                    raise SystemExit("the sink does not start")
                time.sleep(POLL_SECONDS)
            yield port
        finally:
            process.terminate()
            process.wait(20)


async def retry(bench: Bench) -> None:
    """CPU per message: accepted at once, and refused with 450 before."""
    count = bench.given.messages or 10_000
    runs: dict[str, list[float]] = {"direct": [], "retry": []}
    for number in range(bench.given.runs):
        for name, script in (("direct", ""), ("retry", "rcptto * first=1 450 4.2.0 Greylisted, come back")):
            with sink_process(script) as port:
                runs[name].append(await cpu_per_message(bench, port, count))
        print(f"run {number + 1}  direct {runs['direct'][-1]:.0f} µs  retry {runs['retry'][-1]:.0f} µs", flush=True)
    direct, later = median(runs["direct"]), median(runs["retry"])
    ratios = [late / plain for late, plain in zip(runs["retry"], runs["direct"], strict=True)]
    print(f"medians: direct {direct:.0f} µs, retry {later:.0f} µs, ratio {median(ratios):.2f}")


async def cpu_per_message(bench: Bench, port: int, count: int) -> float:
    """Microseconds of relayq's CPU per message, from the outbox to its final result."""
    first = random.randrange(10**9)  # the sink counts by recipient
    bodies = message_bodies(10_240, 50)
    with bench.relayq(port, retry_interval="2", rabbitmq_retry="retry") as relayq:
        await bench.until_consumed(relayq)
        await fill(bench.amqp, "outbox", lambda number: bodies(first + number), WARM_UP)
        await bench.until_depth(relayq, "results", WARM_UP)
        before = relayq.cost.cpu_seconds()
        await fill(bench.amqp, "outbox", lambda number: bodies(first + WARM_UP + number), count)
        await bench.until_depth(relayq, "results", WARM_UP + count)
        used = relayq.cost.cpu_seconds() - before
    await bench.purge("results", "success", "retry")
    return used / count * 1e6


MODES = {"waiting": waiting, "lateness": lateness, "behind": behind, "retry": retry}


async def measure(given: argparse.Namespace, node: RabbitMqNode) -> None:
    """One of the modes."""
    dns_port, _, dns = await serve_dns()
    amqp = await connect("127.0.0.1", node.port)
    await MODES[given.mode](Bench(given, node, dns_port, amqp))
    amqp.transport.close()
    dns.close()


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=sorted(MODES))
    parser.add_argument("--messages", type=int, default=0, help="instead of the usual number of the mode")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the million waits (30)")
    parser.add_argument("--rate", type=int, default=200, help="other messages per second (200)")
    parser.add_argument("--runs", type=int, default=3, help="of retry (3)")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, RabbitMQ on the same machine")
    with RabbitMqNode(memory_bytes=4 << 30) as node:
        uvloop.run(measure(given, node))


if __name__ == "__main__":
    main()
