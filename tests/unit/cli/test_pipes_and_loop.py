"""Blocking reads and writes beside an event loop, and what signals do to a command."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from relayq.cli.loop import run, until_stopped
from relayq.cli.pipes import BlockingCalls, write_all


async def test_calls_return_and_raise() -> None:
    calls = BlockingCalls("test")
    assert await calls.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await calls.run(lambda: 1 // 0)
    assert await calls.run(lambda: threading.current_thread().daemon)


async def test_the_loop_goes_on_during_a_call() -> None:
    calls = BlockingCalls("test")
    go_on = threading.Event()
    call = asyncio.ensure_future(calls.run(go_on.wait))
    await asyncio.sleep(0)
    assert not call.done()
    go_on.set()
    assert await call


async def test_a_cancelled_call_does_no_harm() -> None:
    calls = BlockingCalls("test")
    go_on = threading.Event()
    call = asyncio.ensure_future(calls.run(go_on.wait))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()
    assert await calls.run(lambda: "next") == "next"


def test_everything_is_written_into_a_small_pipe() -> None:
    reading, writing = os.pipe()
    octets = os.urandom(300_000)
    received = bytearray()

    def drain() -> None:
        while piece := os.read(reading, 10_000):
            received.extend(piece)

    reader = threading.Thread(target=drain)
    reader.start()
    write_all(writing, octets)
    os.close(writing)
    reader.join(60)
    os.close(reading)
    assert bytes(received) == octets


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_a_command_to_stop(number: signal.Signals) -> None:
    async def main(stop: asyncio.Event) -> str:
        os.kill(os.getpid(), number)
        await stop.wait()
        return "stopped"

    assert run(main) == "stopped"


def test_a_second_signal_ends_it_at_once() -> None:
    cleaned: list[bool] = []

    async def main(stop: asyncio.Event) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await stop.wait()
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert cleaned == [True]


def test_handlers_are_gone_afterwards() -> None:
    async def main(stop: asyncio.Event) -> None:
        del stop

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(main)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_until_stopped_gives_the_result_or_cancels() -> None:
    async def work() -> int:
        return 7

    stop = asyncio.Event()
    assert await until_stopped(work(), stop) == 7
    stop.set()
    assert await until_stopped(asyncio.Event().wait(), stop) is None


async def test_until_stopped_passes_errors_on() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await until_stopped(work(), asyncio.Event())
