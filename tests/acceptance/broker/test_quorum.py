"""A quorum outbox: delivery limit, poison queue, counted hand-outs, parking beside it (spec amqp.md 4, 13, 16)."""

from __future__ import annotations

import asyncio

import pytest

from tests.acceptance.broker.conftest import MakeEngine
from tests.support.engine import DOMAIN, eventually, mail
from tests.support.scripted_server import Expect, Send, Stall, Wait, data, mailfrom, opening, rcptto, transaction

MESSAGES = 30


@pytest.mark.timeout(180)
async def test_twenty_orderly_restarts_poison_and_lose_nothing(engine_on: MakeEngine) -> None:
    options = ("rabbitmq-queue-type=quorum", "shutdown-timeout=0", "retry-interval=1")
    async with engine_on(*options, is_started=False) as engine:
        await engine.serve(*([[*opening(), Stall()]] * 60))
        await engine.start()
        await engine.send(*(mail(f"m{number}") for number in range(MESSAGES)))
        for _ in range(20):
            await eventually(lambda: engine.worker.scheduler.held == MESSAGES, "all are handed out")
            await engine.stop()
            await engine.start()
        await eventually(lambda: engine.worker.scheduler.held == MESSAGES, "all are still there")
        await engine.stop()
        assert engine.observer.attempts == []
        await engine.until_ready("outbox", MESSAGES)
        assert await engine.ready("outbox.poison") == (0,)


@pytest.mark.timeout(180)
async def test_the_broker_drops_nothing_at_its_limit_it_goes_to_the_poison_queue(engine_on: MakeEngine) -> None:
    options = ("rabbitmq-queue-type=quorum", "rabbitmq-delivery-limit=2", "shutdown-timeout=0")
    async with engine_on(*options, is_started=False) as engine:
        await engine.serve(*([[*opening(), Stall()]] * 6))
        await engine.start()
        await engine.send(mail("m1"))
        for _ in range(3):
            await eventually(lambda: engine.worker.scheduler.held == 1, "it is handed out")
            await engine.stop()
            await engine.start()
        [poisoned] = await engine.results("outbox.poison", 1)
        assert poisoned == mail("m1")


@pytest.mark.timeout(180)
async def test_a_message_handed_out_too_often_is_refused_when_asked_to(engine_on: MakeEngine) -> None:
    options = ("rabbitmq-queue-type=quorum", "rabbitmq-max-redeliveries=2", "shutdown-timeout=0")
    async with engine_on(*options, is_started=False) as engine:
        await engine.serve(*([[*opening(), Stall()]] * 6))
        await engine.start()
        await engine.send(mail("m1", queues={"failure": "own"}))
        for _ in range(2):
            await eventually(lambda: engine.worker.scheduler.held == 1, "it is handed out")
            await engine.stop()
            await engine.start()
        [failure] = await engine.results("own", 1)
        assert [(result["state"], result["result"]) for result in failure["results"]] == [("amqp", "invalid")]


@pytest.mark.timeout(180)
async def test_retries_and_parking_beside_a_quorum_outbox(engine_on: MakeEngine) -> None:
    options = ("rabbitmq-queue-type=quorum", "retry-interval=1", "ip-maxconnections=1", "rabbitmq-maxpriority=5")
    async with engine_on(*options, tweaks={"broker.max_hold": 1.0}) as engine:
        go = asyncio.Event()
        await engine.serve([*opening(), *mailfrom(), *rcptto("450 4.2.0 later"), Expect(rb"RSET\r\n"),
                            Send(b"250 ok\r\n"), *transaction(), *mailfrom(), Wait(go), *rcptto(), *data(),
                            Expect(rb"\r\n\.\r\n"), Send(b"250 ok\r\n"), *transaction()])  # fmt: skip
        await engine.send(mail("retried", priority=3))
        assert [len(result["results"]) for result in await engine.results("success", 1)] == [2]
        await engine.send(mail("first"), mail("parked"))
        await engine.until_ready(f"outbox.park.domain.{DOMAIN}", 1)
        engine.worker.scheduler._parked._waiting[DOMAIN] = 0.0  # as after a minute
        go.set()
        assert {result["id"] for result in await engine.results("success", 2)} == {"first", "parked"}
