"""Processes that are killed while they deliver: nothing is lost, limits hold (spec operations.md 26, check 20)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.fleet import CountingSink, collect, is_gone, kill, message, opened, settings_for, until, workers_of
from tests.support.relayq_process import RelayqProcess

COUNT = 300
MOST = 6
SLOW = "message * slow=0.03 250 ok"


async def test_a_killed_worker_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    async with CountingSink(SLOW) as sink, opened(tmp_path) as broker:
        await broker.publish([message(number) for number in range(COUNT)])
        # Six connections for four workers: no worker has a share of its own, everything is lent.
        settings = settings_for(tmp_path, sink, smtp_threads=4, ip_maxconnections=MOST, rabbitmq_qos=100)
        with RelayqProcess(tmp_path, settings) as relayq:
            await until(lambda: len(sink.messages) >= COUNT // 6, "the first messages")
            workers = workers_of(relayq.pid)
            assert len(workers) == 4
            kill(workers[0])
            results = await collect(broker, COUNT)
            await until(lambda: len(workers_of(relayq.pid)) == 4, "the next worker")
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
            assert "was ended by signal SIGKILL; the next one is started in 1 s" in relayq.log
    assert set(results) == set(range(COUNT))
    assert sink.most <= MOST
    # Only what was in a transaction when its worker died may have come twice.
    assert len(sink.messages) <= COUNT + MOST
    assert set(results.values()) == {1}


async def test_the_workers_of_a_killed_supervisor_end_in_order(tmp_path: Path) -> None:
    async with CountingSink(SLOW) as sink, opened(tmp_path) as broker:
        await broker.publish([message(number) for number in range(COUNT)])
        # Few connections: seconds pass between the death and the last mail there would be.
        with RelayqProcess(tmp_path, settings_for(tmp_path, sink, rabbitmq_qos=100, ip_maxconnections=2)) as relayq:
            await until(lambda: len(sink.messages) >= COUNT // 6, "the first messages")
            workers = workers_of(relayq.pid)
            await asyncio.to_thread(relayq.kill)
            await until(lambda: all(map(is_gone, workers)), "the end of the workers")
        before = len(sink.messages)
        assert before < COUNT
        # What had been sent has its result, and what had not is still there: a second start sends exactly the rest.
        with RelayqProcess(tmp_path, settings_for(tmp_path, sink)) as relayq:
            results = await collect(broker, COUNT)
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
    assert set(results) == set(range(COUNT))
    assert set(results.values()) == {1}
    assert set(sink.deliveries.values()) == {1}
