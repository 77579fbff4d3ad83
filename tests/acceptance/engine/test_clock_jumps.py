"""The clock of the world is set while messages are in hand or wait for their next attempt."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from relayq.adapters.clock import SystemClock
from tests.support.engine import Engine, eventually, mail
from tests.support.scripted_server import (
    Close,
    Wait,
    data,
    mailfrom,
    message,
    opening,
    quit_session,
    rcptto,
    transaction,
)

DAYS = timedelta(days=3)


class SettableClock(SystemClock):
    """The system's, set wrong by ``offset``."""

    offset = timedelta()

    def now(self) -> datetime:
        """See ``ports.Clock.now``."""
        return super().now() + self.offset


async def test_mail_in_hand_does_not_expire_when_the_clock_goes_forward() -> None:
    clock, greeting = SettableClock(), asyncio.Event()
    async with Engine(clock=clock) as engine:
        server = await engine.serve([Wait(greeting), *opening(), *transaction(), *quit_session()])
        await engine.send(mail("m1"))
        await eventually(lambda: server.count == 1, "it waits for the greeting")
        clock.offset = DAYS
        greeting.set()
        await eventually(lambda: engine.published("m1").kind == "success", "it is sent all the same")


async def test_a_retry_does_not_wait_for_a_clock_that_was_set_back() -> None:
    clock = SettableClock()
    clock.offset = DAYS
    async with Engine("retry-interval=2", clock=clock) as engine:
        await engine.serve(
            [*opening(), *mailfrom(), *rcptto("450 4.2.0 later"), Close()],
            [*opening(), *mailfrom(), *rcptto(), *data(), *message()],
            strict=False,
        )
        await engine.send(mail("m1"))
        await eventually(lambda: engine.published("m1").kind == "retry", "it is greylisted")
        clock.offset = timedelta()
        [copy] = engine.published("m1").copies["outbox"]
        await engine.send(copy.body)
        await eventually(lambda: engine.published("m1").kind == "success", "it is tried again")
