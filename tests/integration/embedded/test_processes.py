"""Several processes at one queue file: what each may rely on when others publish, stop or die."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import QueueDepth
from relayq.ports import OutboxItem
from tests.integration.embedded.conftest import StartPeer
from tests.unit.adapters.embedded.support import FAST, PATIENCE, Inbox, make_broker, opened, publication


async def results_of(file: Path, count: int) -> list[bytes]:
    async with opened(file) as broker:
        inbox = Inbox()
        await broker.consume("results", count + 100, inbox)
        await inbox.wait_for(count)
        depths = await broker.queue_depths()
        assert depths == {"results": QueueDepth(0, 0, count)}
        return inbox.bodies


async def test_three_processes_inject_while_one_consumes(file: Path, peers: StartPeer) -> None:
    async with opened(file) as broker:
        arrived: asyncio.Queue[OutboxItem] = asyncio.Queue()
        await broker.consume("outbox", 50, arrived.put_nowait)
        injectors = [await peers("inject", first, 500, 5) for first in (0, 1000, 2000)]
        for _ in range(1500):
            async with asyncio.timeout(PATIENCE):
                item = await arrived.get()
            await broker.settle(item, [publication(item.body, "results")])
        for injector in injectors:
            await injector.hears("done")
    expected = [b"%d" % (first + number) for first in (0, 1000, 2000) for number in range(500)]
    assert sorted(await results_of(file, 1500)) == sorted(expected)


async def test_what_a_process_publishes_another_sees_at_once(file: Path, peers: StartPeer) -> None:
    async with opened(file, timings=type(FAST)()) as broker:
        delays: list[float] = []
        seen = asyncio.Event()

        def deliver(item: OutboxItem) -> None:
            delays.append(time.time() - float(item.body))
            if len(delays) == 15:
                seen.set()

        await broker.consume("outbox", 100, deliver)
        await peers("stamp", 15, 0.03)
        async with asyncio.timeout(PATIENCE):
            await seen.wait()
    assert statistics.median(delays) < 10  # a tenth of a second on a machine with nothing else to do


@pytest.mark.slow
async def test_a_killed_process_loses_neither_held_nor_delayed_messages(file: Path, peers: StartPeer) -> None:
    clock = SystemClock()
    async with opened(file, timings=type(FAST)()) as broker:
        await broker.publish([publication(b"held %d" % number) for number in range(1000)])
        holder = await peers("hold", 1000)
        await holder.hears("held 1000")
        due_at = clock.now() + timedelta(seconds=6)
        await broker.publish([publication(b"late %d" % number, due_at=due_at) for number in range(1000)])
        assert await broker.queue_depths() == {"outbox": QueueDepth(0, 1000, 1000)}
        inbox = Inbox()
        await broker.consume("outbox", 3000, inbox)
        holder.signal(signal.SIGKILL)
        await inbox.wait_for(2000)
        held = [item for item in inbox.items if item.body.startswith(b"held")]
        assert [item.body for item in held] == [b"held %d" % number for number in range(1000)]
        assert all(item.redelivered for item in held)
        late = [item for item in inbox.items if item.body.startswith(b"late")]
        # `consumed_at` is monotonic: as long ago as the message has been here.
        earliest = clock.now() - timedelta(seconds=clock.monotonic() - min(item.consumed_at for item in late))
        assert earliest >= due_at
        assert sorted(item.body for item in late) == sorted(b"late %d" % number for number in range(1000))
        assert not any(item.redelivered for item in late)


async def test_everything_survives_the_death_of_the_only_process(file: Path, peers: StartPeer) -> None:
    async with opened(file) as broker:
        await broker.publish([publication(b"%d" % number) for number in range(300)])
        await broker.publish([publication(b"late", delay=0.2)])
    holder = await peers("hold", 200)
    await holder.hears("held 200")
    holder.signal(signal.SIGKILL)
    await holder.rest()
    async with opened(file) as broker:
        inbox = Inbox()
        await broker.consume("outbox", 1000, inbox)
        await inbox.wait_for(301)
        assert sorted(inbox.bodies) == sorted([*(b"%d" % number for number in range(300)), b"late"])
        assert sum(item.redelivered for item in inbox.items) == 200


async def test_what_was_confirmed_is_there_after_a_kill(file: Path, peers: StartPeer) -> None:
    injector = await peers("inject", 0, 1_000_000, 10)
    await injector.hears("confirmed 300")
    injector.signal(signal.SIGKILL)
    said = await injector.rest()
    confirmed = max([300, *(int(line.split()[1]) for line in said)])
    async with opened(file) as broker:
        there = (await broker.queue_depths())["outbox"].ready
        inbox = Inbox()
        await broker.consume("outbox", there + 1, inbox)
        await inbox.wait_for(there)
        assert confirmed <= there <= confirmed + 10
        assert inbox.bodies == [b"%d" % number for number in range(there)]


async def test_a_kill_between_settlements_doubles_no_result(file: Path, peers: StartPeer) -> None:
    async with opened(file) as broker:
        await broker.publish([publication(b"%d" % number) for number in range(2000)])
    for _ in range(3):
        worker = await peers("work", 100)
        await worker.hears("settled 300")
        worker.signal(signal.SIGKILL)
        await worker.rest()
    async with opened(file) as broker:
        arrived: asyncio.Queue[OutboxItem] = asyncio.Queue()
        left = 2000 - (await broker.queue_depths())["results"].ready
        await broker.consume("outbox", 100, arrived.put_nowait)
        for _ in range(left):
            async with asyncio.timeout(PATIENCE):
                item = await arrived.get()
            await broker.settle(item, [publication(item.body, "results")])
    counts = Counter(await results_of(file, 2000))
    assert set(counts) == {b"%d" % number for number in range(2000)}
    assert set(counts.values()) == {1}


async def test_a_slow_process_keeps_its_messages(file: Path, peers: StartPeer) -> None:
    async with opened(file) as broker:
        await broker.publish([publication(b"%d" % number) for number in range(10)])
        holder = await peers("hold", 10)
        await holder.hears("held 10")
        holder.signal(signal.SIGSTOP)
        try:
            inbox, marker = Inbox(), Inbox()
            await broker.consume("outbox", 20, inbox)
            await broker.consume("marker", 1, marker)
            # Much later than many looks for dead processes.
            await broker.publish([publication(b"", "marker", delay=20 * FAST.sweep_interval)])
            await marker.wait_for(1)
            assert inbox.items == []
            assert (await broker.queue_depths())["outbox"] == QueueDepth(0, 0, 10)
        finally:
            holder.signal(signal.SIGCONT)


async def test_workers_share_the_queue_without_doubles(file: Path, peers: StartPeer) -> None:
    async with opened(file) as broker:
        await broker.publish([publication(b"%d" % number) for number in range(600)])
        workers = [await peers("work", 10) for _ in range(2)]
        results = Inbox()
        await broker.consume("results", 1000, results)
        await results.wait_for(600)
        assert sorted(results.bodies) == sorted(b"%d" % number for number in range(600))
        assert (await broker.queue_depths()) == {"results": QueueDepth(0, 0, 600)}
        for worker in workers:
            await worker.end()


@pytest.mark.parametrize("count", [1, 5])
async def test_brokers_that_start_at_once_make_one_file(file: Path, count: int) -> None:
    brokers = [make_broker(file) for _ in range(count)]
    await asyncio.gather(*(broker.open() for broker in brokers))
    await asyncio.gather(*(broker.publish([publication(b"mail")]) for broker in brokers))
    assert await brokers[0].queue_depths() == {"outbox": QueueDepth(count, 0, 0)}
    await asyncio.gather(*(broker.close() for broker in brokers))
