"""Work in threads: everything is done once, by several threads, and answered where it was asked for."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from relayq.delivery.threads import WorkThreads


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
async def test_everything_is_done_and_answered(count: int) -> None:
    threads = WorkThreads(2)
    for _ in range(2):  # also once the threads have stopped in between
        assert await asyncio.gather(*(threads.do(partial(pow, 2, number)) for number in range(count))) == [
            2**number for number in range(count)
        ]
    threads.close()


async def test_several_threads_work_at_once() -> None:
    threads = WorkThreads(2)
    together = threading.Barrier(2, timeout=60)
    await asyncio.gather(threads.do(together.wait), threads.do(together.wait))
    threads.close()


async def test_the_loop_goes_on_meanwhile() -> None:
    threads = WorkThreads(1)
    release = threading.Event()
    waiting = asyncio.ensure_future(threads.do(partial(release.wait, 10)))
    await asyncio.sleep(0)
    release.set()
    assert await waiting
    threads.close()


async def test_a_failure_is_raised_where_it_was_asked_for() -> None:
    threads = WorkThreads(1)
    good, bad = await asyncio.gather(
        threads.do(partial(int, "1")), threads.do(partial(int, "x")), return_exceptions=True
    )
    assert good == 1
    assert isinstance(bad, ValueError)
    threads.close()


async def test_who_no_longer_waits_disturbs_nobody() -> None:
    threads = WorkThreads(1)
    release = threading.Event()
    running = asyncio.ensure_future(threads.do(partial(release.wait, 10)))
    last = asyncio.ensure_future(threads.do(partial(int, "1")))
    await asyncio.sleep(0)
    running.cancel()
    release.set()
    assert await last == 1
    threads.close()


def test_a_loop_that_is_gone_gets_no_answer() -> None:
    release, threads = threading.Event(), WorkThreads(1)

    async def leave() -> None:
        task = asyncio.ensure_future(threads.do(partial(release.wait, 10)))
        await asyncio.sleep(0)
        task.cancel()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    release.set()
    assert threads._executor is not None
    threads._executor.shutdown(wait=True)
    threads.close()
