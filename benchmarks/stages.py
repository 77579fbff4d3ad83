"""Where the CPU of a message goes: µs per stage of its way through relayq.

One worker drains the outbox of ``benchmarks.macro``. Over the second quarter of the messages its CPU is measured as the
kernel accounts it; over the second half it runs under a profile by CPU time. Each function's own time, with that of the
built-in functions it calls, goes to the stage of its module. What profiling costs per call is measured and taken off;
the shares that remain are applied to the CPU measured without the profile.

    python -m benchmarks.stages
    python -m benchmarks.stages --messages 40000 --json benchmarks/results/stages.json
    python -m benchmarks.stages --functions 30          # the functions that cost most, too
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import os
import pstats
import signal
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.macro import Bench, settings_for
from benchmarks.record import machine, write_record
from benchmarks.support import RelayqProcess, end_in_order, serve_dns
from tests.support.servers import RabbitMqNode, SmtpSink

STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AMQP in", ("adapters/rabbitmq/consum", "adapters/rabbitmq/link", "adapters/rabbitmq/pending")),
    ("AMQP frames and sockets", ("adapters/rabbitmq/",)),
    ("JSON and addresses", ("model/",)),
    ("scheduling and admission", ("delivery/scheduler", "delivery/admission", "delivery/ledger", "delivery/arrivals",
                                  "delivery/budget", "delivery/rule", "delivery/pace", "delivery/parked")),
    ("journal", ("adapters/journal/", "app/journal")),
    ("composing", ("compose/", "delivery/composer", "delivery/bodies", "delivery/fitting", "delivery/stored_content",
                   "smtp/data")),
    ("routing and DNS", ("delivery/router", "delivery/terms", "policy/routing", "policy/egress", "adapters/dns/")),
    ("SMTP sessions", ("smtp/", "delivery/session", "delivery/lane", "adapters/sockets", "adapters/tls")),
    ("deciding", ("policy/", "delivery/decision")),
    ("pipeline", ("delivery/pipeline",)),
    ("results", ("delivery/publisher", "delivery/reporter", "delivery/names")),
    ("observing", ("adapters/log_observer", "adapters/figures", "adapters/send_log", "supervisor/", "app/")),
)  # fmt: skip
"""Stage and the beginnings of its modules' paths; the first that fits counts."""
REST = "event loop and kernel"
"""What no module of relayq did: uvloop, reading sockets, the interpreter's own."""

CALIBRATION_CALLS = 200_000
GIVE_UP_SECONDS = 30.0
FunctionKey = tuple[str, int, str]


def stage_of(file: str) -> str:
    """Stage of a source file."""
    _, found, module = file.rpartition("src/relayq/")
    if not found:
        return REST
    return next((name for name, heads in STAGES if module.startswith(heads)), REST)


@dataclass(frozen=True, slots=True)
class CallCost:
    """Seconds that the profile adds to a call of a function.

    Attributes:
        own: Charged to the function.
        caller: Charged to who calls it.
        hidden: Charged to nobody.
    """

    own: float
    caller: float
    hidden: float


def cost_of_a_call() -> CallCost:
    """Measure an empty function with and without the profile."""

    def nothing() -> None:
        pass

    def loop() -> None:
        for _ in range(CALIBRATION_CALLS):
            nothing()

    before = time.thread_time()
    loop()
    bare = time.thread_time() - before
    profile = cProfile.Profile(time.thread_time_ns, 1e-9, builtins=False)
    before = time.thread_time()
    profile.runcall(loop)
    elapsed = time.thread_time() - before
    stats: dict[FunctionKey, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    own, caller = (next(entry[2] for key, entry in stats.items() if key[2] == name) for name in ("nothing", "loop"))
    hidden = elapsed - own - caller
    return CallCost(*(max(value, 0.0) / CALIBRATION_CALLS for value in (own, caller - bare, hidden)))


def own_seconds(stats: dict[FunctionKey, Any], cost: CallCost) -> dict[FunctionKey, float]:
    """CPU seconds of each function's own, without what the profile cost.

    Args:
        stats: As ``pstats`` keeps them: calls, own time and callers by function.
        cost: Of a call.
    """
    outward: Counter[FunctionKey] = Counter()
    for *_, callers in stats.values():
        for caller, counts in callers.items():
            outward[caller] += counts[1]
    return {
        key: max(own - calls * cost.own - outward[key] * cost.caller, 0.0)
        for key, (_, calls, own, _, _) in stats.items()
    }


def seconds_per_stage(stats: dict[FunctionKey, Any], cost: CallCost, elapsed: float) -> dict[str, float]:
    """The same by stage; what no function had of the ``elapsed`` CPU seconds is the rest."""
    seconds: dict[str, float] = defaultdict(float)
    for key, own in own_seconds(stats, cost).items():
        seconds[stage_of(key[0])] += own
    charged = sum(entry[2] for entry in stats.values())
    calls = sum(entry[1] for entry in stats.values())
    seconds[REST] += max(elapsed - charged - calls * cost.hidden, 0.0)
    return seconds


async def measure(given: argparse.Namespace, node: RabbitMqNode, sink: SmtpSink, target: Path) -> float:
    """Drain once, leave the profile in ``target``; returns µs of CPU per message without it."""
    dns_port, _, dns = await serve_dns()
    bench = Bench(given, node, sink, dns_port)
    amqp = await bench.prepare(given.messages)
    settings = settings_for(node.url, sink.port, dns_port, given.set)
    launcher = ("-m", "benchmarks.profiled", str(target))
    count = given.messages
    with RelayqProcess(settings, launcher=launcher) as relayq:
        first = await bench.until(amqp, relayq, count // 4)
        before = relayq.cost.cpu_seconds()
        middle = await bench.until(amqp, relayq, count // 2)
        own = relayq.cost.cpu_seconds() - before
        os.kill(relayq.pid, signal.SIGALRM)
        await bench.until(amqp, relayq, count)
        os.kill(relayq.pid, signal.SIGALRM)
        limit = time.monotonic() + GIVE_UP_SECONDS
        while not await asyncio.to_thread(target.exists):
            if time.monotonic() > limit or not relayq.is_running:
                raise SystemExit(f"no profile:\n{relayq.log.read_text()[-3000:]}")
            await asyncio.sleep(0.05)
    amqp.transport.close()
    dns.close()
    return own / (middle - first) * 1e6


def show_functions(stats: dict[FunctionKey, Any], cost: CallCost, count: int, messages: int) -> None:
    """The functions with most time of their own."""
    costs = [(own, stats[key][1], key) for key, own in own_seconds(stats, cost).items()]
    for own, calls, (file, line, name) in sorted(costs, reverse=True)[:count]:
        shown = file.rpartition("src/")[2] or file
        print(f"{own / messages * 1e6:8.2f} µs  {calls / messages:7.2f} calls  {shown}:{line} {name}")


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=10_240, help="octets of MIME per message (10240)")
    parser.add_argument("--domains", type=int, default=1, help="recipient domains (1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="also the N most expensive functions")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relayq-bench-")))
        node = stack.enter_context(RabbitMqNode(memory_bytes=4 << 30))
        sink = stack.enter_context(SmtpSink(max_connections=1000))
        target = folder / "run.prof"
        own_us = uvloop.run(measure(given, node, sink, target))
        stats: dict[FunctionKey, Any] = pstats.Stats(str(target)).stats  # type: ignore[attr-defined]
        elapsed = float(target.with_suffix(".seconds").read_text(encoding="ascii"))
    cost = cost_of_a_call()
    seconds = seconds_per_stage(stats, cost, elapsed)
    total = sum(seconds.values())
    stages = [
        {"stage": name, "us": round(seconds[name] / total * own_us, 1)} for name in (*(s for s, _ in STAGES), REST)
    ]
    print(f"{given.messages} messages of {given.size} octets: {own_us:.0f} µs of CPU each")
    for stage in stages:
        print(f"  {stage['stage']:28} {stage['us']:7.1f} µs")
    if given.functions:
        show_functions(stats, cost, given.functions, given.messages // 2)
    if given.json:
        figures = {"own_us": round(own_us, 1), "size": given.size, "messages": given.messages, "stages": stages}
        write_record(given.json, "stages", figures, where=where, settings=given.set)


if __name__ == "__main__":
    main()
