"""A disk without space, and one that is read-only for a while."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from relayq.adapters.embedded import QueueDepth
from tests.support.disk import Disk
from tests.unit.adapters.embedded.support import FlowListener, Inbox, Log, make_broker, opened, publication


async def test_a_full_disk_blocks_and_nothing_is_lost(disk: Disk) -> None:
    listener, log = FlowListener(), Log()
    file = disk.folder / "relayq.db"
    async with opened(file, listener, log) as broker:
        inbox = Inbox()
        await broker.publish([publication(b"%d" % number) for number in range(100)])
        await broker.consume("outbox", 50, inbox)
        await inbox.wait_for(50)
        await asyncio.to_thread(disk.fill, 200_000)
        settled = [
            asyncio.ensure_future(broker.settle(item, [publication(item.body + bytes(10_000), "results")]))
            for item in inbox.items
        ]
        assert await listener.next()
        assert broker.is_blocked
        assert "disk is full" in log.texts("warning")[0]
        disk.free()
        assert not await listener.next()
        await asyncio.gather(*settled)
        await inbox.wait_for(100)
        assert sorted(inbox.bodies) == sorted(b"%d" % number for number in range(100))
        assert await broker.queue_depths() == {"outbox": QueueDepth(0, 0, 50), "results": QueueDepth(50, 0, 0)}
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_file_on_a_full_disk_opens_when_there_is_space(disk: Disk) -> None:
    file = disk.folder / "relayq.db"
    async with opened(file) as broker:
        await broker.publish([publication(b"mail")])
    await asyncio.to_thread(disk.fill)
    listener = FlowListener()
    broker = make_broker(file, listener)
    opening = asyncio.create_task(broker.open())
    publishing: asyncio.Task[None] | None = None
    if await first_of(opening, listener):
        # It could be opened; then the first thing to be written shows that there is no space.
        publishing = asyncio.create_task(broker.publish([publication(bytes(100_000))]))
        assert await listener.next()
    disk.free()
    await opening
    assert not await listener.next()
    if publishing is not None:
        await publishing
    inbox = Inbox()
    await broker.consume("outbox", 10, inbox)
    await inbox.wait_for(1)
    assert inbox.bodies[0] == b"mail"
    await broker.close()


async def first_of(opening: asyncio.Task[None], listener: FlowListener) -> bool:
    """Whether the broker opened; otherwise it said that it is blocked."""
    blocked = asyncio.create_task(listener.next())
    await asyncio.wait([opening, blocked], return_when=asyncio.FIRST_COMPLETED)
    if blocked.done():
        assert blocked.result()
        return False
    blocked.cancel()
    return True


async def test_a_read_only_disk_is_waited_for(disk: Disk) -> None:
    file = disk.folder / "relayq.db"
    async with opened(file) as broker:
        await broker.publish([publication(b"mail")])
    await asyncio.to_thread(disk.remount, "ro")
    listener, log = FlowListener(), Log()
    broker = make_broker(file, listener, log)
    opening = asyncio.create_task(broker.open())
    assert await listener.next()
    assert "read-only" in log.texts("warning")[0].lower()
    await asyncio.to_thread(disk.remount, "rw")
    await opening
    assert await broker.queue_depths() == {"outbox": QueueDepth(1, 0, 0)}
    await broker.close()
