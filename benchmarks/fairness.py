"""What others notice of a bad destination: one that never greets, one that is slow, one that puts everything off.

The outbox holds messages for 10,000 domains, and spread among them those for the bad ones: every tenth. Measured is how
fast the messages of the others are delivered, from 5 % to 95 % of them, beside a run without bad destinations.

    python -m benchmarks.fairness
    python -m benchmarks.fairness --messages 4000 --domains 500 --runs 1
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from pamqp import commands

from benchmarks.macro import settings_for
from benchmarks.raw_amqp import connect, declare, fill
from benchmarks.record import machine, write_record
from benchmarks.slow_sink import ScriptedSink
from benchmarks.support import RelayqProcess, median, message_bodies, serve_dns
from tests.support.servers import RabbitMqNode, SmtpSink

BAD: dict[str, tuple[int, str]] = {
    "dead: never greets": (2, "intro * stall\n"),
    "slow: answers content after 5 s": (3, "message * slow=5 250 2.0.0 at last\n"),
    "throttled: 450 for every recipient": (4, "rcptto * 450 4.7.0 too many messages\n"),
}
"""What is bad, the last number of its address, and the script of its server."""
GOOD = b"@d"
GIVE_UP_SECONDS = 300.0


def mixed(size: int, domains: int, places: tuple[int, ...], every: int) -> Callable[[int], bytes]:
    """Messages by number; with ``places`` one of ``every`` is for a bad destination, each in its turn."""
    plain = message_bodies(size, domains)

    def body(number: int) -> bytes:
        octets = plain(number)
        if not places or number % every:
            return octets
        start = octets.index(GOOD)
        place = places[number // every % len(places)]
        return octets[:start] + f"@bad{place}.test".encode() + octets[octets.index(b'"', start) :]

    return body


async def others(
    given: argparse.Namespace, node: RabbitMqNode, sink: SmtpSink, dns_port: int, places: tuple[int, ...]
) -> float:
    """Messages per second that the good destinations get."""
    filler, reader = await connect("127.0.0.1", node.port), await connect("127.0.0.1", node.port)
    await declare(filler, "outbox", "success")
    for queue in ("outbox", "success"):
        await filler.call(commands.Queue.Purge(queue=queue))
    count = given.messages * given.every // (given.every - 1) if places else given.messages
    await fill(filler, "outbox", mixed(given.size, given.domains, places, given.every), count)
    first, last = int(given.messages * 0.05), int(given.messages * 0.95)
    times: list[float] = []
    finished = asyncio.Event()

    def take(tag: int, body: bytes) -> None:
        if GOOD in json.loads(body)["recipient"].encode():
            times.append(time.perf_counter())
            if len(times) == last:
                finished.set()

    reader.on_deliver = take
    await reader.call(commands.Basic.Consume(queue="success", no_ack=True))
    extra = ["rabbitmq-results=", "shutdown-timeout=1", *given.set]
    with RelayqProcess(settings_for(node.url, sink.port, dns_port, extra)) as relayq:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await finished.wait()
        except TimeoutError:
            raise SystemExit(f"{len(times)} of {last} messages:\n{relayq.log.read_text()[-3000:]}") from None
    filler.transport.close()
    reader.transport.close()
    return (last - first) / (times[last - 1] - times[first - 1])


async def measure(given: argparse.Namespace, node: RabbitMqNode, sink: SmtpSink) -> list[dict[str, object]]:
    """Every case as often as wanted, in turn; the first one has no bad destination."""
    dns_port, _, dns = await serve_dns()
    cases: dict[str, tuple[int, ...]] = {"none": ()}
    cases |= {what: (place,) for what, (place, _) in BAD.items()}
    cases["all three"] = tuple(place for place, _ in BAD.values())
    rates: dict[str, list[float]] = {what: [] for what in cases}
    for _ in range(given.runs):
        for what, places in cases.items():
            rates[what].append(await others(given, node, sink, dns_port, places))
            print(f"{what:36} {rates[what][-1]:8.0f} messages/s", flush=True)
    dns.close()
    base = median(rates["none"])
    return [{"what": what, "per_second": median(own), "share": median(own) / base} for what, own in rates.items()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000, help="for the good destinations (20000)")
    parser.add_argument("--domains", type=int, default=10_000, help="good ones (10000)")
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--every", type=int, default=10, metavar="N", help="one of N messages is for a bad one (10)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(RabbitMqNode(memory_bytes=4 << 30))
        sink = stack.enter_context(SmtpSink(max_connections=1000))
        for place, script in BAD.values():
            stack.enter_context(ScriptedSink(script, f"127.0.0.{place}", sink.port))
        cases = uvloop.run(measure(given, node, sink))
    print("\nmedians:")
    for case in cases:
        print(f"  {case['what']:36} {case['per_second']:8.0f} messages/s  x {case['share']:.2f}")
    if given.json:
        figures = {
            "messages": given.messages,
            "domains": given.domains,
            "size": given.size,
            "every": given.every,
            "cases": cases,
        }
        write_record(given.json, "fairness", figures, where=where, settings=given.set)


if __name__ == "__main__":
    main()
