"""CPU of our RabbitMQ adapter per relayed message: consume, publish with confirm, acknowledge.

Usage: ``python -m benchmarks.micro_amqp --help``. Without an address a private RabbitMQ node is started. Only the CPU
of this process is counted; the broker runs beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import platform
import pstats
import time
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import uvloop

from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions
from relayq.ports import OutboxItem, Properties, Publication, QueueRole
from tests.support.servers import RabbitMqNode

OUTBOX, RESULTS = "outbox", "results"
ROUNDS = 3


class SystemClock:
    """The real clocks."""

    def now(self) -> datetime:
        """Now."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic()


class Deaf:
    """A listener that has nothing to do."""

    def flow_changed(self, *, blocked: bool) -> None:
        """Blocked or not."""

    def items_lost(self) -> None:
        """Lost."""

    def replace_copy(self, publication: Publication) -> Publication | None:
        """As it is."""
        return publication

    def unroutable(self, publication: Publication) -> None:
        """Given up."""
        raise AssertionError(publication.queue)


def make_broker(url: str, throttle: int) -> RabbitMqBroker:
    """A broker for an address without TLS."""
    parts = urlsplit(url)
    endpoint = Endpoint(host=parts.hostname or "localhost", port=parts.port or 5672, vhost=parts.path[1:] or "/")
    options = RabbitMqOptions(endpoints=(endpoint,), outbox=OUTBOX, queues=(RESULTS,), throttle=throttle)
    return RabbitMqBroker(options, Deaf(), SystemClock(), lambda _level, _text: None)


async def fill(broker: RabbitMqBroker, count: int, size: int) -> None:
    """Put messages into the outbox, each with a message-id of its own, as producers do."""
    body = b'{"envelope":"a@sender.test"}' + b" " * size
    await asyncio.gather(
        *(
            broker.publish(
                [
                    Publication(
                        queue=OUTBOX,
                        body=body[:size],
                        properties=Properties(message_id=f"message-{number}"),
                        role=QueueRole.OUTBOX,
                    )
                ]
            )
            for number in range(count)
        )
    )


async def relay(broker: RabbitMqBroker, count: int, prefetch: int) -> tuple[float, float]:
    """CPU and wall seconds to relay ``count`` messages from the outbox to the results."""
    done = asyncio.Event()
    left = count

    def finished(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    def deliver(item: OutboxItem) -> None:
        copy = Publication(queue=RESULTS, body=item.body, properties=item.properties, role=QueueRole.RESULT)
        settled: Awaitable[None] = broker.settle(item, (copy,))
        asyncio.ensure_future(settled).add_done_callback(finished)

    cpu, wall = time.process_time(), time.perf_counter()
    consumption = await broker.consume(OUTBOX, prefetch, deliver)
    await done.wait()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    await consumption.cancel()
    return cpu, wall


async def drain(broker: RabbitMqBroker, count: int) -> tuple[float, float]:
    """CPU and wall seconds to consume and acknowledge ``count`` results."""
    done = asyncio.Event()
    left = count

    def deliver(item: OutboxItem) -> None:
        nonlocal left
        broker.settle(item, ())
        left -= 1
        if not left:
            done.set()

    cpu, wall = time.process_time(), time.perf_counter()
    consumption = await broker.consume(RESULTS, 1000, deliver)
    await done.wait()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    await consumption.cancel()
    return cpu, wall


async def run(url: str, arguments: argparse.Namespace) -> None:
    """Several rounds; the best of them is what the machine can do undisturbed."""
    broker = make_broker(url, arguments.throttle)
    await broker.open()
    count = arguments.messages
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        cpu = time.process_time()
        await fill(broker, count, arguments.size)
        figures = {"publish with confirm": (time.process_time() - cpu, 0.0)}
        with profiled(arguments.profile):
            figures["relay"] = await relay(broker, count, arguments.prefetch)
        figures["consume and ack"] = await drain(broker, count)
        for name, (cpu, wall) in figures.items():
            best[name] = min(best.get(name, cpu), cpu)
            rate = f", {count / wall:,.0f}/s" if wall else ""
            print(f"  {name}: {cpu / count * 1e6:.1f} µs CPU per message{rate}")
    await broker.close()
    print(f"best of {ROUNDS}: " + ", ".join(f"{name} {cpu / count * 1e6:.1f} µs" for name, cpu in best.items()))


@contextlib.contextmanager
def profiled(wanted: bool) -> Iterator[None]:
    """Print where the time goes."""
    if not wanted:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    yield
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--prefetch", type=int, default=1000)
    parser.add_argument("--throttle", type=int, default=100)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--url")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    runner = uvloop.run if arguments.loop == "uvloop" else asyncio.run
    print(
        f"{arguments.messages} messages of {arguments.size} bytes, prefetch {arguments.prefetch}, "
        f"throttle {arguments.throttle}, {arguments.loop}, Python {platform.python_version()}"
    )
    with contextlib.ExitStack() as stack:
        url = arguments.url or stack.enter_context(RabbitMqNode()).new_vhost()
        runner(run(url, arguments))


if __name__ == "__main__":
    main()
