"""What composing costs a whole worker, and how late its event loop runs meanwhile.

One worker with the broker in memory and a real ``smtp-sink``. Each case delivers messages of one kind: plain ones of
10 KB, the same signed, personalised, newsletters with style sheets to inline, those made to take as long as they can,
and some of 10 MB, also for a server that takes no 8-bit content. A timer of the loop notes every 5 ms by how much it is
late. "predicted" is the processor time of a plain message plus that of signing it on its own.

    python -m benchmarks.compose_engine
    python -m benchmarks.compose_engine --messages 3000 --workers 1 plain rsa
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.compose_css import newsletter
from benchmarks.record import machine, write_record
from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import MemoryBroker, MemoryResolver, RecordingObserver
from relayq.app import Worker, World, spare_the_collector
from relayq.compose import PrivateKeys, parse_signing_keys, sign_message
from relayq.config import load, parse_options
from relayq.ports import Properties, Publication, QueueRole
from tests.support.servers import SmtpSink

TICK_SECONDS = 0.005
GIVE_UP_SECONDS = 180.0
WARM_SHARE = 0.1
POLL_SECONDS = 0.01
SIGNATURES = 200

HEAD = "From: News <news@shop.test>\r\nTo: You <you@example.test>\r\nSubject: The news\r\nMIME-Version: 1.0\r\n"
LINE = "Hello, this is one line of a mail body that is about as long as lines in mails are.\r\n"
PLAIN = f"{HEAD}\r\n{LINE * 118}"
VARIABLES = {f"name{number}": f"value {number}" for number in range(20)}
TEMPLATE = f"{HEAD}\r\n" + "".join(f"{LINE * 5}Dear {{${name}}}, welcome.\r\n" for name in VARIABLES)
HTML = f"{HEAD}Content-Type: text/html; charset=utf-8\r\n\r\n"
SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
HOSTILE_CSS = "".join(f".a{number} b~i:nth-child({number}n+1){{color:#{number:06d}}}" for number in range(680))
HOSTILE_BODY = "<b class=a1><i>x</i></b>" * 2000

Facts = Callable[[int], dict[str, object]]


def rsa_key() -> str:
    """A key of 2048 bits as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


RSA_KEY = rsa_key()


def signed(key: str) -> dict[str, object]:
    """Member of a message that asks for one signature."""
    return {"dkim": {"domain": "shop.test", "selector": "s", "key": key}}


def inlined(html: str) -> dict[str, object]:
    """A message whose style sheets are to be inlined."""
    return {"mime": HTML + html.replace("\n", "\r\n"), "inlinecss": True}


def hostile(number: int) -> dict[str, object]:
    """50 KB of HTML and 34 KB of CSS, different in each message, so that nothing can be remembered."""
    return inlined(f"<style>{HOSTILE_CSS}.x{number}{{a:b}}</style><body>{'<i></i>' * (number % 99)}{HOSTILE_BODY}")


LARGE_OCTETS = 10_000_000
LARGE_HEAD = f"{HEAD}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
LARGE = LARGE_HEAD + LINE * (LARGE_OCTETS // len(LINE))
LARGE_8BIT = LARGE.replace("about", "\N{LATIN SMALL LETTER U WITH DIAERESIS}ber")
TAKES_NO_8BIT = ("large-8bit",)
"""Cases for a server without 8BITMIME."""
MOST_RATIO = 1.15
"""Of CPU: signed, in proportion to plain delivery and the signature on its own."""
MOST_LAG_MS = 20.0

CASES: dict[str, tuple[float, Facts]] = {
    "plain": (1.0, lambda number: {"mime": PLAIN}),
    "ed25519": (1.0, lambda number: {"mime": PLAIN, **signed(SEED)}),
    "rsa": (1.0, lambda number: {"mime": PLAIN, **signed(RSA_KEY)}),
    "personalised": (1.0, lambda number: {"mime": TEMPLATE, "data": VARIABLES}),
    "inlined-9k": (1.0, lambda number: inlined(newsletter(9_000, f"Name{number}"))),
    "inlined-50k": (0.3, lambda number: inlined(newsletter(50_000, f"Name{number}"))),
    "inlined-50k-rsa": (0.3, lambda number: {**inlined(newsletter(50_000, f"Name{number}")), **signed(RSA_KEY)}),
    "large": (0.006, lambda number: {"mime": LARGE}),
    "large-8bit": (0.006, lambda number: {"mime": LARGE_8BIT}),
    "hostile-1%": (0.5, lambda number: hostile(number) if number % 100 == 50 else {"mime": PLAIN}),
}
"""By name: the share of the messages that is enough, and what distinguishes a message."""


class Figures(NamedTuple):
    """Of one case: messages per second, processor time of the worker and with its helpers, and the lag in ms."""

    rate: float
    worker_us: float
    all_us: float
    lag_p50: float
    lag_p99: float
    lag_max: float


async def deliver(port: int, count: int, facts: Facts, workers: int) -> Figures:
    """Deliver ``count`` messages by one of ``workers`` (0: one per core); measured is what follows the first tenth."""
    settings = load(
        parse_options([
            "--rabbitmq-results=results", f"--smtp-out-port={port}", "--hostname=bench.test",
            "--smtp-out-security=optional", "--log-level=critical", f"--smtp-threads={workers}",
        ]), environ={}, no_default_config=True,
    )  # fmt: skip
    clock = SystemClock()
    resolver = MemoryResolver(clock, warm=True)
    resolver.set_mx("d.test", [(10, "mx.test")])
    resolver.set_addresses("mx.test", "127.0.0.1")
    worker = Worker(
        settings,
        observer=RecordingObserver(),
        world=World(resolver=resolver, broker=lambda listener: MemoryBroker(clock, listener), clock=clock),
    )
    broker = worker.broker
    assert isinstance(broker, MemoryBroker)
    base = {"envelope": "b@shop.test"}
    bodies = (
        json.dumps({**base, "recipient": f"u{number}@d.test", **facts(number)}).encode() for number in range(count)
    )
    outbox = {"queue": "outbox", "properties": Properties(), "role": QueueRole.OUTBOX}
    await broker.publish([Publication(body=body, **outbox) for body in bodies])  # type: ignore[arg-type]
    spare_the_collector()
    gc.collect()
    await worker.start()
    first = await until(broker, int(count * WARM_SHARE))
    lags: list[float] = []
    ticking = asyncio.create_task(tick(lags))
    wall, cpu, helpers = time.perf_counter(), time.process_time(), helper_seconds()
    last = await until(broker, count)
    wall, cpu, helpers = (
        time.perf_counter() - wall,
        time.process_time() - cpu,
        helper_seconds() - helpers,
    )
    ticking.cancel()
    await worker.stop()
    lags.sort()
    done = last - first
    return Figures(
        done / wall,
        cpu / done * 1e6,
        (cpu + helpers) / done * 1e6,
        lags[len(lags) // 2] * 1e3,
        lags[int(len(lags) * 0.99)] * 1e3,
        lags[-1] * 1e3,
    )


def helper_seconds() -> float:
    """Processor time of this process's children that run, and of those that have ended."""
    ticks = 0
    children = f"/proc/self/task/{os.getpid()}/children"
    with open(children, encoding="ascii") as listing:
        pids = listing.read().split()
    for pid in pids:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
            if "workshop" not in file.read():
                continue
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def until(broker: MemoryBroker, count: int) -> int:
    """Wait until so many messages are settled; how many are."""
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while (done := len(broker.settled)) < count:
        if time.monotonic() > give_up_at:
            raise SystemExit(f"stopped at {done} of {count} messages")
        await asyncio.sleep(POLL_SECONDS)
    return done


async def tick(lags: list[float]) -> None:
    """Note how late the loop is."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK_SECONDS)
        lags.append(time.perf_counter() - before - TICK_SECONDS)


def signature_us() -> float:
    """Processor time of signing the plain message, in microseconds."""
    message, keys = PLAIN.encode(), parse_signing_keys(signed(RSA_KEY)["dkim"])
    private_keys, now = PrivateKeys(), datetime.now(UTC)
    sign_message(message, keys, now, private_keys)
    begun = time.process_time()
    for _ in range(SIGNATURES):
        sign_message(message, keys, now, private_keys)
    return (time.process_time() - begun) / SIGNATURES * 1e6


def main() -> None:
    """Measure and print a line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all of {', '.join(CASES)}")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=0, help="smtp-threads; with fewer than cores, threads sign")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record, as benchmarks/results has them")
    given = parser.parse_args()
    where = machine()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bare = signature_us()
    print(f"signing with RSA-2048: {bare:.0f} us")
    print(f"{'':16} {'msg/s':>8} {'us worker':>10} {'us all':>8} {'lag p50':>8} {'p99':>7} {'max ms':>7}")
    found: dict[str, Figures] = {}
    with SmtpSink() as sink, SmtpSink("-8") as without_8bit:
        for name in given.cases or CASES:
            share, facts = CASES[name]
            port = (without_8bit if name in TAKES_NO_8BIT else sink).port
            figures = found[name] = uvloop.run(deliver(port, int(given.messages * share), facts, given.workers))
            rate, worker, everything, *lags = figures
            p50, p99, most = lags
            print(f"{name:16} {rate:8.0f} {worker:10.0f} {everything:8.0f} {p50:8.1f} {p99:7.1f} {most:7.1f}")
            if name == "rsa" and "plain" in found:
                expected = found["plain"].worker_us + bare
                print(f"{'  predicted':16} {'':8} {expected:10.0f}  measured is {worker / expected:.2f} of it")
    if given.json:
        record = {
            "signature_us": round(bare, 1),
            "cases": [{"case": name, **_rounded(figures)} for name, figures in found.items()],
            "goals": goals(found, bare),
        }
        settings = [f"smtp-threads={given.workers}"] if given.workers else []
        write_record(given.json, "compose_engine", record, where=where, settings=settings)


def _rounded(figures: Figures) -> dict[str, float]:
    return {key: round(value, 1) for key, value in figures._asdict().items()}


def goals(found: dict[str, Figures], bare: float) -> list[dict[str, object]]:
    """Figures that are asked for, with their limits, as `benchmarks.cases` writes them."""
    asked: list[tuple[str, float, float, str]] = []
    if "plain" in found and "rsa" in found:
        ratio = found["rsa"].worker_us / (found["plain"].worker_us + bare)
        asked.append(("CPU with RSA-2048, of signature and plain delivery", ratio, MOST_RATIO, ""))
    lags = {name: figures.lag_p99 for name, figures in found.items()}
    asked += [(f"p99 of the lag of the loop, {name}", lag, MOST_LAG_MS, "ms") for name, lag in lags.items()]
    return [
        {"what": what, "measured": round(measured, 3), "limit": limit, "unit": unit, "kind": "most"}
        for what, measured, limit, unit in asked
    ]


if __name__ == "__main__":
    main()
