"""What large messages cost in memory: one alone, and very many one after another.

Three kinds of a message of 10 MB are sent through ``relayq run`` with one worker: a finished mail in plain ASCII, one
with other letters (escaped in JSON), and one described as an object with an attachment. For one message alone the
growth of the peak over the idle process is told, in copies of the mail: two results with the whole mail are published
for it. Then very many are drained; the peak has to stay below ``rabbitmq-max-memory`` and 100 MB.

    python -m benchmarks.memory --json benchmarks/results/memory.json
    python -m benchmarks.memory --messages 1000 --max-memory 256

Memory is the resident set of all processes of relayq, its peak as the kernel keeps it (``VmHWM``). Ends with 1 when a
limit is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from pamqp import commands

from benchmarks.macro import settings_for
from benchmarks.raw_amqp import RawAmqp, connect, declare, depth, fill
from benchmarks.record import machine, write_record
from benchmarks.support import LINE, Cost, RelayqProcess, end_in_order, message_bodies, process_figures, serve_dns
from tests.support.servers import RabbitMqNode, SmtpSink

MEBIBYTE = 1024 * 1024
SIZE = 10 * MEBIBYTE
MOST_COPIES = 3.0
MOST_EXTRA_MIB = 100.0
WARM_MESSAGES = 200
QUEUED = 20
"""So many wait in the outbox at once: the broker need not keep them all."""
GIVE_UP_SECONDS = 600.0
POLL_SECONDS = 0.05
QUEUES = ("outbox", "results", "success")
HEAD = "From: News <news@shop.test>\r\nSubject: The news of the day\r\n"
LETTERS = "Grüße: diese Zeile hat ein paar andere Buchstaben, und etwa so viele wie in Mails üblich 📰.\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """One message by itself.

    Attributes:
        kind: Of its content.
        octets: Of the mail.
        idle_mib: Memory before.
        peak_mib: At most meanwhile.
        copies: How often the mail fits into the difference.
    """

    kind: str
    octets: int
    idle_mib: float
    peak_mib: float
    copies: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Very many.

    Attributes:
        kind: Of their content.
        messages: How many.
        max_memory_mib: ``rabbitmq-max-memory``.
        idle_mib: Memory before.
        peak_mib: At most meanwhile.
        per_second: Messages.
    """

    kind: str
    messages: int
    max_memory_mib: int
    idle_mib: float
    peak_mib: float
    per_second: float


def plain(size: int) -> str:
    """A finished mail in ASCII, as JSON."""
    return json.dumps(f"{HEAD}\r\n{LINE * (size // len(LINE))}")


def escaped(size: int) -> str:
    """A finished mail in UTF-8 whose letters are escaped."""
    head = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    return json.dumps(f"{HEAD}{head}\r\n{LETTERS * (size // len(LETTERS.encode()))}")


def nested(size: int) -> str:
    """An object with one attachment, whose base64 makes up the mail."""
    data = base64.b64encode(os.urandom(size // 4 * 3 // 78 * 76)).decode()
    files = [{"name": "photos.zip", "data": data}]
    mail = {"from": "News <news@shop.test>", "subject": "Photos", "text": "See the attachment.", "attachments": files}
    return json.dumps(mail)


KINDS: dict[str, Callable[[int], str]] = {"plain": plain, "escaped": escaped, "attachment": nested}


class Watch:
    """The memory of one process and its children.

    The peak of each process is the kernel's; those of several need not have been at the same time, so their sum is an
    upper limit.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.idle_mib = process_figures(pid)[0]
        for member in Cost.family(pid):
            Path(f"/proc/{member}/clear_refs").write_text("5")  # forget the peak so far

    @property
    def peak_mib(self) -> float:
        """Since this watch began."""
        return Cost(self._pid).peak_mib()


class Bench:
    """A broker and a sink for all runs."""

    def __init__(self, node: RabbitMqNode, sink_port: int, dns_port: int, given: argparse.Namespace) -> None:
        self._node = node
        self._sink_port = sink_port
        self._dns_port = dns_port
        self._given = given

    def _settings(self) -> dict[str, str]:
        extra = [f"rabbitmq-max-memory={self._given.max_memory}mb", *self._given.set]
        return settings_for(self._node.url, self._sink_port, self._dns_port, extra)

    async def _prepare(self) -> RawAmqp:
        amqp = await connect("127.0.0.1", self._node.port)
        await declare(amqp, *QUEUES)
        await self._purge(amqp, *QUEUES)
        return amqp

    async def _purge(self, amqp: RawAmqp, *queues: str) -> None:
        for queue in queues:
            await amqp.call(commands.Queue.Purge(queue=queue))

    async def _until(self, amqp: RawAmqp, relayq: RelayqProcess, count: int) -> None:
        limit = time.monotonic() + GIVE_UP_SECONDS
        while (done := await depth(amqp, "success")) < count:
            if not relayq.is_running or time.monotonic() > limit:
                raise SystemExit(f"stopped at {done} of {count}:\n{relayq.log.read_text()[-3000:]}")
            await asyncio.sleep(POLL_SECONDS)

    async def _warm_up(self, amqp: RawAmqp, relayq: RelayqProcess) -> None:
        """Everything that is loaded or made at the first message is there, the workshop for large ones as well."""
        await fill(amqp, "outbox", message_bodies(10_000, 20), WARM_MESSAGES)
        await self._until(amqp, relayq, WARM_MESSAGES)
        await fill(amqp, "outbox", _bodies(nested(MEBIBYTE)), 1)
        await self._until(amqp, relayq, WARM_MESSAGES + 1)
        await self._purge(amqp, "success", "results")

    async def alone(self, kind: str) -> Alone:
        """One message."""
        mime = KINDS[kind](SIZE)
        amqp = await self._prepare()
        with RelayqProcess(self._settings()) as relayq:
            await self._warm_up(amqp, relayq)
            watch = Watch(relayq.pid)
            await fill(amqp, "outbox", _bodies(mime), 1)
            await self._until(amqp, relayq, 1)
            idle, peak = watch.idle_mib, watch.peak_mib
        amqp.transport.close()
        copies = (peak - idle) * MEBIBYTE / SIZE
        return Alone(kind=kind, octets=SIZE, idle_mib=idle, peak_mib=peak, copies=copies)

    async def drain(self, kind: str) -> Drain:
        """Very many, of which a few wait in the outbox at any time."""
        given, bodies = self._given, _bodies(KINDS[kind](SIZE))
        amqp = await self._prepare()
        with RelayqProcess(self._settings()) as relayq:
            await self._warm_up(amqp, relayq)
            watch, started = Watch(relayq.pid), time.monotonic()
            published = finished = 0
            while finished < given.messages:
                if not relayq.is_running or time.monotonic() - started > GIVE_UP_SECONDS:
                    raise SystemExit(f"stopped at {finished}:\n{relayq.log.read_text()[-3000:]}")
                done = await depth(amqp, "success")
                if done:
                    await self._purge(amqp, "results")
                    reply = await amqp.call(commands.Queue.Purge(queue="success"))
                    finished += reply.message_count
                count = min(QUEUED - (published - finished), given.messages - published)
                if count > 0:
                    await fill(amqp, "outbox", bodies, count, window=2)
                    published += count
                await asyncio.sleep(POLL_SECONDS)
            seconds = time.monotonic() - started
            idle, peak = watch.idle_mib, watch.peak_mib
        amqp.transport.close()
        return Drain(
            kind=kind, messages=given.messages, max_memory_mib=given.max_memory, idle_mib=idle, peak_mib=peak,
            per_second=given.messages / seconds,
        )  # fmt: skip


def _bodies(mime: str) -> Callable[[int], bytes]:
    def body(number: int) -> bytes:
        text = f'{{"envelope":"bounce@shop.test","recipient":"user{number}@d{number % 20}.test","id":{number},"mime":'
        return f"{text}{mime}}}".encode()

    return body


async def measure(given: argparse.Namespace, node: RabbitMqNode, sink: SmtpSink) -> tuple[list[Alone], list[Drain]]:
    """All of it."""
    dns_port, _, dns = await serve_dns()
    bench = Bench(node, sink.port, dns_port, given)
    alone, drains = [], []
    for kind in given.kinds:
        alone.append(one := await bench.alone(kind))
        say(f"{kind:>10} alone: {one.idle_mib:.0f} MiB idle, {one.peak_mib:.0f} at most, {one.copies:.1f} copies")
    for kind in given.kinds if given.messages else ():
        drains.append(many := await bench.drain(kind))
        say(
            f"{kind:>10} x {many.messages}: {many.idle_mib:.0f} MiB idle, {many.peak_mib:.0f} at most, "
            f"{many.per_second:.1f} per second"
        )
    dns.close()
    return alone, drains


def say(text: str) -> None:
    """A line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Measure, write, judge."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--messages", type=int, default=200, metavar="N", help="of 10 MB to drain, of each kind; 0: none"
    )
    parser.add_argument("--max-memory", type=int, default=256, metavar="MB", help="rabbitmq-max-memory")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="contents; default: all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a further setting of relayq")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    given = parser.parse_args()
    where = machine()
    with RabbitMqNode() as node, SmtpSink(max_connections=1000) as sink:
        alone, drains = uvloop.run(measure(given, node, sink))
    if given.json:
        figures = {"alone": list(map(asdict, alone)), "drains": list(map(asdict, drains))}
        write_record(given.json, "memory", figures, where=where, settings=given.set)
    is_kept = all(one.copies <= MOST_COPIES for one in alone)
    return 0 if is_kept and all(many.peak_mib <= many.max_memory_mib + MOST_EXTRA_MIB for many in drains) else 1


if __name__ == "__main__":
    sys.exit(main())
