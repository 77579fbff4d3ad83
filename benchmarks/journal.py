"""Outcome journal: what its notes cost per message, alone and in a whole worker.

    python -m benchmarks.journal                       # the notes alone
    python -m benchmarks.journal --macro --messages 5000   # a whole worker, with and without, in turn

Alone: one message is *sending*, *decided* with an accepted attempt, *done* and, a thousand messages later, forgotten,
as the engine does it; CPU of the thread that runs the event loop. ``--path`` names the folder, and so
the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.macro import Bench
from benchmarks.record import machine, write_record
from benchmarks.support import end_in_order, serve_dns
from relayq.adapters.journal import FileJournal, JournalOptions, SyncMode
from relayq.delivery.decision import Decision, encode_decision
from relayq.model import Attempt, DeliveryState, Outcome, ResultType
from relayq.ports import JournalEntry
from tests.support.servers import RabbitMqNode, SmtpSink

RUNS = 5
REMEMBERED = 1000
ATTEMPT = Attempt(
    state=DeliveryState.MESSAGE,
    result=ResultType.ACCEPTED,
    at=datetime.now(UTC),
    egress_ip="192.0.2.10",
    remote_ip="198.51.100.25",
    ordinal=7,
    code=250,
    status="2.0.0",
    description="2.0.0 Ok: queued as 4F2A9C0B1D",
)


async def alone(folder: Path, messages: int, sync: SyncMode) -> float:
    """Microseconds per message."""
    options = JournalOptions(folder=folder, instance="bench", sync=sync)
    journal = FileJournal(options, lambda level, text: None)
    await journal.open()
    remembered: deque[JournalEntry] = deque()
    keys = [os.urandom(32) for _ in range(messages)]
    start = time.thread_time()
    for number, key in enumerate(keys):
        entry = JournalEntry(key)
        noted = journal.note_sending(entry)
        if noted is not None and number % 20 == 0:
            await noted
        journal.note_decided(entry, encode_decision(Decision(Outcome.SUCCESS, ATTEMPT, ATTEMPT.at)))
        journal.note_done(entry, is_acknowledged=True)
        remembered.append(entry)
        if len(remembered) > REMEMBERED:
            journal.forget(remembered.popleft())
        if number % 100 == 0:
            await asyncio.sleep(0)
    cost = (time.thread_time() - start) / messages * 1e6
    await journal.close(is_clean=True)
    return cost


async def whole(messages: int, runs: int, settings: dict[str, list[str]]) -> list[dict[str, object]]:
    """A worker with each of some settings, in turn; medians of each."""
    given = argparse.Namespace(
        messages=messages, queued=0, size=10_240, domains=1, set=[], profile=None, rate=0, latency=False
    )
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in settings}
    with RabbitMqNode() as node, SmtpSink() as sink:
        port, _, dns = await serve_dns()
        bench = Bench(given, node, sink, port)
        for _ in range(runs):
            for name, options in settings.items():
                given.set = ["smtp-threads=1", *options]
                figures[name].append(await bench.product())
        dns.close()
    medians: list[dict[str, object]] = []
    for name, found in figures.items():
        own = statistics.median(figure["own_us"] for figure in found)
        rate = statistics.median(figure["per_second"] for figure in found)
        print(f"{name:24} {own:7.1f} µs own CPU per message   {rate:7.0f} messages/s")
        medians.append({"journal": name, "own_us": own, "per_second": rate})
    return medians


def main() -> None:
    """Measure and print."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--path", type=Path, help="folder for the files; default: a temporary one")
    parser.add_argument("--macro", action="store_true", help="measure a whole worker instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --macro")
    given = parser.parse_args()
    where = machine()
    if given.macro:
        settings = {
            "without": ["journal-directory="],
            "journal-sync: second": ["journal-sync=second"],
            "journal-sync: always": ["journal-sync=always"],
        }
        medians = uvloop.run(whole(given.messages, given.runs, settings))
        if given.json:
            write_record(given.json, "journal", {"messages": given.messages, "medians": medians}, where=where)
        return
    for sync in SyncMode:
        with tempfile.TemporaryDirectory(dir=given.path) as folder:
            costs = [uvloop.run(alone(Path(folder), given.messages, sync)) for _ in range(given.runs)]
        print(f"journal-sync: {sync.value:10} {statistics.median(costs):6.2f} µs per message")


if __name__ == "__main__":
    main()
