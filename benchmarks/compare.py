"""CPU per message of several checkouts, run in turn on one broker and one receiver: before and after in one sitting.

On a machine that does other things as well, rates say nothing and CPU wanders by a tenth and more. Turns in alternating
order and medians show a difference of a few per cent.

    git worktree add --detach ../before HEAD~1
    python -m benchmarks.compare ../before .                       # 8,000 messages, five turns each
    python -m benchmarks.compare . .,ip-maxconnections=60          # one checkout with and without a setting
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path

import uvloop

from benchmarks.macro import WARM_SHARE, Bench, settings_for
from benchmarks.support import TICKS, Cost, RelayqProcess, end_in_order, median, serve_dns
from tests.support.servers import RabbitMqNode, SmtpSink

COLUMNS = ("user", "system", "own", "broker", "receiver", "msg/s")


def own_cpu(pid: int) -> tuple[float, float]:
    """User and system seconds of a process and all below it."""
    user = system = 0
    for member in Cost.family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11])
        system += int(fields[12])
    return user / TICKS, system / TICKS


async def turn(bench: Bench, checkout: str, extra: list[str], count: int) -> tuple[float, ...]:
    """One drain of the outbox; the values of ``COLUMNS``, µs per message but for the rate."""

    def snapshot() -> tuple[float, ...]:
        user, system = own_cpu(relayq.pid)
        return user, system, bench.node_cost.cpu_seconds(), bench.sink_cost.cpu_seconds(), time.perf_counter()

    amqp = await bench.prepare(count)
    os.environ["PYTHONPATH"] = f"{checkout}/src"
    settings = settings_for(bench.node.url, bench.sink.port, bench.dns_port, extra)
    with RelayqProcess(settings) as relayq:
        first = await bench.until(amqp, relayq, int(count * WARM_SHARE))
        before = snapshot()
        last = await bench.until(amqp, relayq, count)
        spent = [late - early for early, late in zip(before, snapshot(), strict=True)]
    amqp.transport.close()
    user, system, broker, sink = (seconds / (last - first) * 1e6 for seconds in spent[:4])
    return user, system, user + system, broker, sink, (last - first) / spent[4]


async def measure(given: argparse.Namespace, node: RabbitMqNode, sink: SmtpSink) -> None:
    """All turns, and the medians."""
    dns_port, _, dns = await serve_dns()
    bench = Bench(given, node, sink, dns_port)
    found: dict[str, list[tuple[float, ...]]] = {variant: [] for variant in given.variants}
    for number in range(given.turns):
        for variant in given.variants if number % 2 == 0 else given.variants[::-1]:
            checkout, *extra = variant.split(",")
            values = await turn(bench, checkout, extra, given.messages)
            found[variant].append(values)
            print(f"turn {number + 1}  {show(values)}  {variant}", flush=True)
    dns.close()
    print(f"\nmedians {''.join(f'{name:>10}' for name in COLUMNS)}")
    for variant, turns in found.items():
        print(f"        {show([median(column) for column in zip(*turns, strict=True)])}  {variant}")


def show(values: tuple[float, ...] | list[float]) -> str:
    """One line of numbers."""
    return "".join(f"{value:10.1f}" for value in values)


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", metavar="CHECKOUT[,KEY=VALUE…]", help="folder with src/, and settings")
    parser.add_argument("--messages", type=int, default=8_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--domains", type=int, default=1, help="recipient domains (1)")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(RabbitMqNode(memory_bytes=4 << 30))
        sink = stack.enter_context(SmtpSink(max_connections=1000))
        uvloop.run(measure(given, node, sink))


if __name__ == "__main__":
    main()
