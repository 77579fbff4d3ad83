"""Message stores: what saving, loading and deleting a body costs, per engine.

    python benchmarks/stores.py [--bodies 2000] [--tasks 16] [--threads 2] [ENGINE or ADDRESS]...

Bodies have 10 KB. Figures are µs per operation: wall clock, with so many operations wanted at the same time, and CPU of
this process, all its threads included; the server's own is not in it. Servers are started for the purpose, on this
machine, with nothing flushed to disk, from what scripts/install-test-servers has put there. Those of mongodb and s3 are
written in Python, for tests, so of them only the CPU tells something. ENGINE is one of the names in the table, and an
ADDRESS is that of a store that runs already. Without either, all engines are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import machine, write_record
from relayq.adapters.store import open_store
from relayq.config.store_address import parse_store_address
from tests.support.stores.databases import MariaDbServer, PostgreSqlServer, RedisServer
from tests.support.stores.moto import Moto
from tests.support.stores.secantus import Secantus


class Server(Protocol):
    """One that can be started, and has room for a store."""

    @property
    def address(self) -> str:
        """Of the store."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


SERVERS: dict[str, Callable[[], Server]] = {
    "postgresql": PostgreSqlServer,
    "mariadb": MariaDbServer,
    "redis": RedisServer,
    "mongodb": Secantus,
    "s3": Moto,
}
ENGINES = ("directory", "sqlite", *SERVERS)
BODY = (b"Subject: x\r\n\r\n" + b"Hello, this is one line of a mail body that is as long as others.\r\n" * 150)[:10_240]


async def measure(work: Sequence[Callable[[], Awaitable[object]]], tasks: int) -> tuple[float, float]:
    """Do all of it, so many at the same time; returns µs of wall clock and of CPU for each."""
    left = iter(work)

    async def turn() -> None:
        for one in left:
            await one()

    wall, own = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(turn())
    return (time.perf_counter() - wall) / len(work) * 1e6, (time.process_time() - own) / len(work) * 1e6


async def run(name: str, address: str, given: argparse.Namespace) -> dict[str, object]:
    """One line of the table, printed and returned."""
    store = open_store(parse_store_address(address), given.threads)
    expire_at = datetime.now(UTC) + timedelta(hours=1)
    keys = [f"benchmark-{number}" for number in range(given.bodies)]
    await store.save("warm", BODY, expire_at)
    await store.load("warm")
    await store.delete("warm")
    figures = [
        await measure([lambda key=key: store.save(key, BODY, expire_at) for key in keys], given.tasks),  # type: ignore[misc]
        await measure([lambda key=key: store.load(key) for key in keys], given.tasks),  # type: ignore[misc]
        await measure([lambda key=key: store.delete(key) for key in keys], given.tasks),  # type: ignore[misc]
    ]
    await store.close()
    print(f"{name:12}", *(f"{wall:9.0f} {own:9.0f}" for wall, own in figures))
    operations = zip(("save", "load", "delete"), figures, strict=True)
    return {"store": name} | {what: {"wall_us": wall, "own_us": own} for what, (wall, own) in operations}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", default=ENGINES, metavar="ENGINE|ADDRESS", help=", ".join(ENGINES))
    parser.add_argument("--bodies", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=16, help="operations wanted at the same time")
    parser.add_argument("--threads", type=int, default=2, help="storage-threads")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    rows: list[dict[str, object]] = []
    print(f"{'':12}", *(f"{what:>19}" for what in ("save", "load", "delete")))
    print(f"{'µs':12}", *(f"{'wall':>9} {'CPU':>9}" for _ in range(3)))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for store in given.stores:
            address = store
            if store in SERVERS:
                address = stack.enter_context(SERVERS[store]()).address
            elif store in ENGINES:
                address = f"{'dir' if store == 'directory' else store}://{folder}/{store}/bodies"
            rows.append(uvloop.run(run(store if store in ENGINES else "", address, given)))
    if given.json:
        write_record(given.json, "stores", {"bodies": given.bodies, "tasks": given.tasks, "stores": rows}, where=where)


if __name__ == "__main__":
    main()
