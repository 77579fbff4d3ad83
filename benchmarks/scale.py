"""Throughput, CPU per message and memory along one axis at a time: what makes relayq slower, and by how much.

depth     messages waiting in the outbox, 1 KB each
domains   recipient domains, 10 KB messages
size      octets of a message
latency   milliseconds a server takes to answer the content, with up to 5,000 sessions
workers   worker processes

    python -m benchmarks.scale --json benchmarks/results/scale.json      # all axes: about 25 minutes alone
    python -m benchmarks.scale --axis domains size
    python -m benchmarks.scale --quick                                  # a fiftieth of it: does it work?
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.macro import Bench, Receiver
from benchmarks.record import machine, write_record
from benchmarks.slow_sink import ScriptedSink
from benchmarks.support import end_in_order, serve_dns
from tests.support.servers import RabbitMqNode, SmtpSink

SESSIONS = 5000
MOST_OCTETS = 1 << 30
"""Content of one run: messages of 10 MB would fill disks otherwise."""
QUICK = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run.

    Attributes:
        value: Place on the axis.
        messages: How many are drained.
        queued: How many wait at the start, if more.
        size: Octets of each.
        domains: Recipient domains.
        delay: Seconds the server takes to answer the content; ``None`` for Postfix's smtp-sink.
        settings: Further settings, ``key=value``.
    """

    value: float
    messages: int = 20_000
    queued: int = 0
    size: int = 10_240
    domains: int = 1
    delay: float | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """What is varied, its unit, its points."""

    name: str
    unit: str
    points: tuple[Point, ...]


def _latency_settings(sessions: int) -> tuple[str, ...]:
    return (
        "ip-maxconnections=0", f"smtp-connections={sessions}", f"rabbitmq-qos={sessions + 1000}",
        "domain-maxqueue=100000", "rabbitmq-max-memory=2gb",
    )  # fmt: skip


def _latency(milliseconds: int, quick: bool) -> Point:
    sessions = 200 if quick else SESSIONS
    messages = min(20_000, max(4 * sessions, 2000))
    return Point(value=milliseconds, messages=messages, domains=100, delay=milliseconds / 1000,
                 settings=_latency_settings(sessions))  # fmt: skip


def axes(quick: bool) -> tuple[Axis, ...]:
    """All of them, small ones for ``quick``."""
    share = QUICK if quick else 1
    few = 20_000 // (10 if quick else 1)
    sizes = (1024, 10_240, 102_400, 1_048_576, 10_485_760)
    return (
        Axis("depth", "messages waiting", tuple(
            Point(value=depth // share, messages=min(depth // share, few), queued=depth // share, size=1024)
            for depth in (1000 * QUICK if quick else 1000, 10_000, 100_000, 1_000_000) if depth // share >= 500
        )),
        Axis("domains", "domains", tuple(
            Point(value=count, messages=few, domains=count)
            for count in (1, 10, 100, *(() if quick else (1000, 10_000)))
        )),
        Axis("size", "octets of a message", tuple(
            Point(value=size, messages=max(min(few, MOST_OCTETS // share // size), 10), size=size,
                  settings=("rabbitmq-max-memory=1gb",))
            for size in sizes[: 4 if quick else None]
        )),
        Axis("latency", "ms until the content is answered", tuple(
            _latency(milliseconds, quick) for milliseconds in ((0, 50) if quick else (0, 10, 50, 200, 500))
        )),
        Axis("workers", "workers", tuple(
            Point(value=workers, messages=few, domains=100, settings=(f"smtp-threads={workers}",))
            for workers in ((1, 2) if quick else (1, 2, 4))
        )),
    )  # fmt: skip


@contextlib.contextmanager
def _receiver(point: Point) -> Iterator[Receiver]:
    if point.delay is None:
        with SmtpSink(max_connections=1000) as plain:
            yield plain
        return
    script = f"message * slow={point.delay} 250 2.0.0 ok\n" if point.delay else ""
    with ScriptedSink(script) as sink:
        yield sink


async def measure(point: Point, node: RabbitMqNode, sink: Receiver, extra: list[str]) -> dict[str, float]:
    """Drain once."""
    dns_port, _, dns = await serve_dns()
    given = argparse.Namespace(
        messages=point.messages,
        queued=point.queued,
        size=point.size,
        domains=point.domains,
        set=[*point.settings, *extra],
        profile=None,
    )
    try:
        figures = await Bench(given, node, sink, dns_port).product()
    finally:
        dns.close()
    return {"value": point.value, "messages": float(point.messages)} | figures


def run_axis(axis: Axis, given: argparse.Namespace) -> dict[str, object]:
    """Every point of an axis, the least first; a broker of its own keeps axes apart."""
    done: list[dict[str, float]] = []
    with RabbitMqNode(memory_bytes=4 << 30) as node:
        for point in axis.points:
            with _receiver(point) as sink:
                figures = uvloop.run(measure(point, node, sink, given.set))
            done.append({key: round(value, 1) for key, value in figures.items()})
            print(f"{axis.name:8} " + "  ".join(f"{key} {value:10,.1f}" for key, value in done[-1].items()), flush=True)
    return {"axis": axis.name, "unit": axis.unit, "points": done}


def main() -> None:
    """Measure and print."""
    end_in_order()
    names = [axis.name for axis in axes(quick=True)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", nargs="+", choices=names, default=names, help="only these (all)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    where, started = machine(), time.monotonic()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores shared with RabbitMQ and the receiver", flush=True
    )
    done = [run_axis(axis, given) for axis in axes(given.quick) if axis.name in given.axis]
    print(f"took {(time.monotonic() - started) / 60:.1f} minutes")
    if given.json:
        write_record(given.json, "scale", {"axes": done}, where=where, settings=given.set)


if __name__ == "__main__":
    main()
