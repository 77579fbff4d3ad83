"""Messages that take long to compose hold up nobody, whatever becomes of the process that composes them."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest

from tests.support.engine import Engine, eventually, mail

ROWS = "<p>a row of a long newsletter</p>\r\n" * 1000
STYLED = f"From: n@shop.test\r\nContent-Type: text/html\r\n\r\n<style>p{{color:red}}</style>{ROWS}"
PLAIN = [f"plain-{number}" for number in range(20)]


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine() as running:  # a worker per core: one process composes for it
        await running.sink()
        yield running


async def stopped_process(engine: Engine) -> int:
    """The process that composes, which has begun to exist and then stands still."""
    await engine.send(mail("first", mime=STYLED, inlinecss=True))
    assert (await engine.outcome("first")).kind == "success"
    (process,) = engine.worker._composing._workshop._processes
    assert process._transport is not None
    pid = process._transport.get_pid()
    os.kill(pid, signal.SIGSTOP)
    return pid


async def test_others_are_delivered_meanwhile(engine: Engine) -> None:
    pid = await stopped_process(engine)
    await engine.send(mail("slow", mime=STYLED, inlinecss=True), *map(mail, PLAIN))
    for ident in PLAIN:
        assert (await engine.outcome(ident)).kind == "success"
    assert engine.published("slow").kind == "waiting"
    os.kill(pid, signal.SIGCONT)
    assert (await engine.outcome("slow")).kind == "success"


async def test_a_process_that_is_killed_costs_nobody_a_message(engine: Engine) -> None:
    pid = await stopped_process(engine)
    await engine.send(mail("slow", mime=STYLED, inlinecss=True), *map(mail, PLAIN))
    await eventually(lambda: not engine.worker._composing._workshop._idle, "the process got the order")
    os.kill(pid, signal.SIGKILL)
    for ident in ("slow", *PLAIN):
        assert (await engine.outcome(ident)).kind == "success"
    assert [warning.text for warning in engine.observer.warnings] == ["a composing process ended with status -9"]


async def test_stopping_does_not_wait_for_what_hangs(engine: Engine) -> None:
    await stopped_process(engine)
    await engine.send(mail("slow", mime=STYLED, inlinecss=True))
    await eventually(lambda: not engine.worker._composing._workshop._idle, "the process got the order")
    await engine.stop()
    assert engine.published("slow").kind == "waiting"
