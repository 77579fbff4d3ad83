"""What composing costs a whole worker, and how late its event loop runs meanwhile.

One worker with the broker in memory and a real ``smtp-sink``. Each case delivers messages of one kind: plain ones of
10 KB, the same signed, personalised, newsletters with style sheets to inline, those made to take as long as they can,
and some of 10 MB, also for a server that takes no 8-bit content. There are always more in the outbox. A timer of the
loop notes every 5 ms by how much it is late, from before the first message to the end; "own" is what of that the loop's
thread can have worked. "predicted" is the processor time of a plain message plus that of signing it on its own.

    python -m benchmarks.compose_engine
    python -m benchmarks.compose_engine --seconds 10 --workers 1 plain rsa
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.compose_css import newsletter
from benchmarks.record import machine, write_record
from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import MemoryBroker, MemoryQueues, MemoryResolver, RecordingObserver
from relayq.adapters.memory.queues import StoredMessage
from relayq.app import Worker, World, spare_the_collector
from relayq.compose import PrivateKeys, parse_signing_keys, sign_message
from relayq.config import load, parse_options
from relayq.ports import Clock, Properties, Publication, QueueRole
from tests.support.servers import SmtpSink

OUTBOX = "outbox"
TICK_SECONDS = 0.005
WARM_SECONDS = 1.0
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

T = TypeVar("T")
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

CASES: dict[str, tuple[int, Facts]] = {
    "plain": (1000, lambda number: {"mime": PLAIN}),
    "ed25519": (1000, lambda number: {"mime": PLAIN, **signed(SEED)}),
    "rsa": (1000, lambda number: {"mime": PLAIN, **signed(RSA_KEY)}),
    "personalised": (1000, lambda number: {"mime": TEMPLATE, "data": VARIABLES}),
    "inlined-9k": (2000, lambda number: inlined(newsletter(9_000, f"Name{number}"))),
    "inlined-50k": (1000, lambda number: inlined(newsletter(50_000, f"Name{number}"))),
    "inlined-50k-rsa": (1000, lambda number: {**inlined(newsletter(50_000, f"Name{number}")), **signed(RSA_KEY)}),
    "large": (6, lambda number: {"mime": LARGE}),
    "large-8bit": (6, lambda number: {"mime": LARGE_8BIT}),
    "hostile-1%": (1000, lambda number: hostile(number) if number % 100 == 50 else {"mime": PLAIN}),
}
"""By name: how many different messages there are, and what distinguishes one."""


class Figures(NamedTuple):
    """Of one case: messages per second, processor time of the worker and with its helpers, and the lag in ms.

    ``own`` is the part of the lag in which the loop's thread had a processor: what others on the machine do not add to.
    """

    rate: float
    worker_us: float
    all_us: float
    lag_p50: float
    lag_p99: float
    lag_max: float
    own_p99: float
    own_max: float


class Forgetful(list[T]):
    """Keeps nothing of what is appended to it: what piles up in this process would be work for the collector."""

    def append(self, item: T) -> None:
        """Let it go."""


class EndlessQueues(MemoryQueues):
    """An outbox that never runs dry, and results that are read by somebody: nothing piles up in this process."""

    def __init__(self, clock: Clock, bodies: Sequence[bytes]) -> None:
        super().__init__(clock)
        outbox = [
            Publication(queue=OUTBOX, body=body, properties=Properties(), role=QueueRole.OUTBOX) for body in bodies
        ]
        self._fresh = map(StoredMessage, itertools.cycle(outbox), itertools.count())
        self.has_ended = False
        self.results = 0

    def store(self, publication: Publication) -> None:
        """Keep what goes back to the outbox, and count the others."""
        if publication.role is QueueRole.OUTBOX:
            super().store(publication)
        else:
            self.results += 1

    def take(self, queue: str) -> StoredMessage | None:
        """The next message: one that came back, else a fresh one."""
        message = super().take(queue)
        if message is None and queue == OUTBOX and not self.has_ended:
            return next(self._fresh)
        return message


class Run:
    """One worker, with a broker in memory."""

    def __init__(self, port: int, bodies: Sequence[bytes], workers: int) -> None:
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
        self.queues = EndlessQueues(clock, bodies)
        observer = RecordingObserver()
        observer.events = Forgetful()
        self.worker = Worker(
            settings,
            observer=observer,
            world=World(
                resolver=resolver, broker=lambda listener: MemoryBroker(clock, listener, self.queues), clock=clock
            ),
        )
        broker = self.worker.broker
        assert isinstance(broker, MemoryBroker)
        broker.settled = Forgetful()
        broker.published = Forgetful()

    def cost(self) -> tuple[int, float, float, float]:
        """Results so far, one per message, the time, and the processor time of this process and of its helpers."""
        return self.queues.results, time.perf_counter(), time.process_time(), helper_seconds()


async def deliver(port: int, bodies: Sequence[bytes], seconds: float, workers: int) -> Figures:
    """Deliver for so many seconds by one of ``workers`` (0: one per core).

    The lag is that of the whole run, from before the first message; the costs are those of what follows the warm-up.
    """
    run = Run(port, bodies, workers)
    spare_the_collector()
    lags: list[tuple[float, float]] = []
    ticking = asyncio.create_task(tick(lags))
    await run.worker.start()
    await asyncio.sleep(WARM_SECONDS)
    before = run.cost()
    await asyncio.sleep(seconds)
    done, wall, cpu, helpers = (now - then for now, then in zip(run.cost(), before, strict=True))
    ticking.cancel()
    run.queues.has_ended = True
    await run.worker.stop()
    if not done:
        raise SystemExit(f"nothing was delivered in {seconds:g} s")
    late, own = (sorted(values) for values in zip(*lags, strict=True))
    return Figures(
        done / wall,
        cpu / done * 1e6,
        (cpu + helpers) / done * 1e6,
        late[len(late) // 2] * 1e3,
        late[int(len(late) * 0.99)] * 1e3,
        late[-1] * 1e3,
        own[int(len(own) * 0.99)] * 1e3,
        own[-1] * 1e3,
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


async def tick(lags: list[tuple[float, float]]) -> None:
    """Note how late the loop is, and how much of that its thread can have worked."""
    while True:
        before, worked = time.perf_counter(), time.thread_time()
        await asyncio.sleep(TICK_SECONDS)
        late = max(time.perf_counter() - before - TICK_SECONDS, 0.0)
        lags.append((late, min(late, time.thread_time() - worked)))


def bodies_of(name: str) -> tuple[bytes, ...]:
    """JSON of the different messages of a case."""
    count, facts = CASES[name]
    base = {"envelope": "b@shop.test"}
    return tuple(
        json.dumps({**base, "recipient": f"u{number}@d.test", **facts(number)}).encode() for number in range(count)
    )


def signature_us() -> float:
    """Processor time of signing the plain message, in microseconds."""
    message, keys = PLAIN.encode(), parse_signing_keys(signed(RSA_KEY)["dkim"])
    private_keys, now = PrivateKeys(), datetime.now(UTC)
    sign_message(message, keys, now, private_keys)
    begun = time.process_time()
    for _ in range(SIGNATURES):
        sign_message(message, keys, now, private_keys)
    return (time.process_time() - begun) / SIGNATURES * 1e6


def _quoted(text: str) -> str:
    """As help of argparse, which takes a percent sign for the start of a format."""
    return text.replace("%", "%%")


def main() -> None:
    """Measure and print a line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all of {_quoted(', '.join(CASES))}")
    parser.add_argument("--seconds", type=float, default=6.0, help="of steady work per case (6)")
    parser.add_argument("--workers", type=int, default=0, help="smtp-threads; with fewer than cores, threads sign")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record, as benchmarks/results has them")
    given = parser.parse_args()
    where = machine()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bare = signature_us()
    print(f"signing with RSA-2048: {bare:.0f} us")
    lags = f"{'lag p50':>8} {'p99':>7} {'max':>7} {'own p99':>8} {'max ms':>7}"
    print(f"{'':16} {'msg/s':>8} {'us worker':>10} {'us all':>8} {lags}")
    found: dict[str, Figures] = {}
    with SmtpSink() as sink, SmtpSink("-8") as without_8bit:
        for name in given.cases or CASES:
            port = (without_8bit if name in TAKES_NO_8BIT else sink).port
            figures = found[name] = uvloop.run(deliver(port, bodies_of(name), given.seconds, given.workers))
            rate, worker, everything, *late = figures
            shown = "{:8.1f} {:7.1f} {:7.1f} {:8.1f} {:7.1f}".format(*late)
            print(f"{name:16} {rate:8.0f} {worker:10.0f} {everything:8.0f} {shown}", flush=True)
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
