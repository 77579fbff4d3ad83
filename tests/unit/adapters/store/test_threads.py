from __future__ import annotations

import asyncio
import threading

import pytest

from relayq.adapters.store.threads import IoThreads


@pytest.fixture
async def threads() -> IoThreads:
    return IoThreads("test")


async def test_a_call_runs_in_a_thread_and_its_result_comes_back(threads: IoThreads) -> None:
    assert await threads.run(threading.current_thread) is not threading.current_thread()
    await threads.close()


async def test_an_error_comes_back(threads: IoThreads) -> None:
    def fail() -> None:
        raise FileNotFoundError("nowhere")

    with pytest.raises(FileNotFoundError, match="nowhere"):
        await threads.run(fail)
    assert await threads.run(lambda: 1) == 1
    await threads.close()


async def test_one_thread_keeps_the_order(threads: IoThreads) -> None:
    order: list[int] = []
    await asyncio.gather(*[threads.run(lambda number=number: order.append(number)) for number in range(50)])  # type: ignore[misc]
    assert order == list(range(50))
    await threads.close()


async def test_as_many_run_at_once_as_there_are_threads() -> None:
    threads = IoThreads("test", 3)
    together = threading.Barrier(3, timeout=60.0)
    await asyncio.gather(*[threads.run(together.wait) for _ in range(3)])
    assert sum(thread.name.startswith("test-") for thread in threading.enumerate()) == 3
    await threads.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-")]


async def test_no_more_threads_than_work(threads: IoThreads) -> None:
    many = IoThreads("many", 50)
    for _ in range(10):
        await many.run(lambda: None)
    assert sum(thread.name.startswith("many-") for thread in threading.enumerate()) == 1
    await many.close()
    await threads.close()


async def test_results_that_are_ready_together_wake_the_loop_once(
    threads: IoThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    wake_ups = 0
    hand_out = threads._hand_out

    def count() -> None:
        nonlocal wake_ups
        wake_ups += 1
        hand_out()

    monkeypatch.setattr(threads, "_hand_out", count)
    first_done = threading.Event()
    tasks = [asyncio.ensure_future(threads.run(lambda: None)) for _ in range(20)]
    tasks.append(asyncio.ensure_future(threads.run(first_done.set)))
    await asyncio.sleep(0)
    first_done.wait(60.0)  # the loop stands still until all of them are done
    await asyncio.gather(*tasks)
    assert wake_ups <= 3
    await threads.close()


async def test_what_nobody_waits_for_any_more_is_not_done(threads: IoThreads) -> None:
    gate, done = threading.Event(), list[str]()
    hanging = asyncio.ensure_future(threads.run(gate.wait))
    waiting = [asyncio.ensure_future(threads.run(lambda: done.append("late"))) for _ in range(100)]
    await asyncio.sleep(0)
    for task in [hanging, *waiting]:
        task.cancel()
    await asyncio.gather(hanging, *waiting, return_exceptions=True)
    assert not threads._calls
    gate.set()
    await threads.run(lambda: done.append("next"))
    assert done == ["next"]
    await threads.close()


async def test_a_thread_that_hangs_does_not_hold_up_the_end(threads: IoThreads) -> None:
    gate = threading.Event()
    hanging = asyncio.ensure_future(threads.run(gate.wait))
    await asyncio.sleep(0)
    hanging.cancel()
    async with asyncio.timeout(60.0):
        await threads.close(0.05)
    gate.set()


async def test_nothing_runs_after_the_end(threads: IoThreads) -> None:
    await threads.close()
    await threads.close()
    with pytest.raises(RuntimeError, match="have ended"):
        await threads.run(lambda: None)


async def test_a_body_is_let_go_of_once_it_is_handed_over(threads: IoThreads) -> None:
    class Body:
        pass

    import weakref

    watched: list[weakref.ref[Body]] = []

    def make() -> Body:
        body = Body()
        watched.append(weakref.ref(body))
        return body

    await threads.run(make)
    await threads.run(lambda: None)
    assert watched[0]() is None
    await threads.close()
