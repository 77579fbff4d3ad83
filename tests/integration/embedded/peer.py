"""Another process at the same queue file, for the tests in this folder.

    python -m tests.integration.embedded.peer FILE COMMAND [ARGUMENT …]

It reports by lines on standard output and ends when its standard input is closed, as it is when the test dies.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

from relayq.ports import OutboxItem
from tests.unit.adapters.embedded.support import make_broker, publication


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def end_with_input() -> None:
    def wait() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


async def inject(file: Path, first: int, count: int, batch: int) -> None:
    """Publish bodies ``first`` to ``first + count - 1``; says what is confirmed after each batch."""
    broker = make_broker(file)
    await broker.open()
    for start in range(first, first + count, batch):
        await broker.publish([publication(b"%d" % number) for number in range(start, start + batch)])
        say(f"confirmed {start + batch - first}")
    await broker.close()
    say("done")


async def stamp(file: Path, count: int, pause: float) -> None:
    """Publish ``count`` messages one after the other, each with the moment of its publishing as its body."""
    broker = make_broker(file)
    await broker.open()
    for _ in range(count):
        await asyncio.sleep(pause)
        await broker.publish([publication(repr(time.time()).encode())])
    await broker.close()
    say("done")


async def hold(file: Path, count: int) -> None:
    """Consume and never settle; says when ``count`` messages are held."""
    broker = make_broker(file)
    await broker.open()
    held: list[OutboxItem] = []
    full = asyncio.Event()

    def deliver(item: OutboxItem) -> None:
        held.append(item)
        if len(held) == count:
            full.set()

    await broker.consume("outbox", count, deliver)
    await full.wait()
    say(f"held {count}")
    await asyncio.Event().wait()


async def work(file: Path, prefetch: int) -> None:
    """Settle whatever comes with a result of the same body; says how much is confirmed."""
    broker = make_broker(file)
    await broker.open()
    arrived: asyncio.Queue[OutboxItem] = asyncio.Queue()
    await broker.consume("outbox", prefetch, arrived.put_nowait)
    confirmed = 0
    while True:
        items = [await arrived.get()]
        while not arrived.empty() and len(items) < 20:
            items.append(arrived.get_nowait())
        await asyncio.gather(*(broker.settle(item, [publication(item.body, "results")]) for item in items))
        confirmed += len(items)
        say(f"settled {confirmed}")


def main() -> None:
    end_with_input()
    file, command, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    match command:
        case "inject":
            asyncio.run(inject(file, *map(int, arguments)))
        case "stamp":
            asyncio.run(stamp(file, int(arguments[0]), float(arguments[1])))
        case "hold":
            asyncio.run(hold(file, int(arguments[0])))
        case "work":
            asyncio.run(work(file, int(arguments[0])))
        case _:
            raise SystemExit(f"unknown command {command}")


if __name__ == "__main__":
    main()
