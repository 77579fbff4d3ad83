"""Delayed and parked messages of a whole worker on a real RabbitMQ (spec amqp.md 10, 11, 15, 16)."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from relayq.adapters.clock import SystemClock
from tests.acceptance.broker.conftest import MakeEngine
from tests.support.engine import DOMAIN, eventually, mail, parse_at
from tests.support.scripted_server import Expect, Send, Wait, data, mailfrom, opening, rcptto, transaction

PARKING = f"outbox.park.domain.{DOMAIN}"


async def test_a_retry_of_the_default_schedule_takes_one_hop(
    engine_on: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(SystemClock, "now", lambda _: now)  # none of the interval passes before it is published
    async with engine_on() as engine:
        await engine.sink("rcptto * 450 4.2.0 Greylisted")
        await engine.send(mail("m1"))
        [retry] = await engine.results("retry", 1)
        left = parse_at(retry["delayed"]) - parse_at(retry["results"][0]["time"])
        assert timedelta(seconds=600) <= left <= timedelta(seconds=601)
        await engine.until_ready("outbox.delay.600", 1)


async def test_a_message_delayed_by_its_producer_goes_when_it_is_due_and_not_before(engine_on: MakeEngine) -> None:
    async with engine_on() as engine:
        arrivals: list[datetime] = []
        await engine.sink(on_message=lambda _: arrivals.append(datetime.now(UTC)))
        far = [(datetime.now(UTC) + timedelta(seconds=90)).strftime("%F %T")] * 100
        await engine.send(*(mail(f"far{number}", delayed=due) for number, due in enumerate(far)))
        due_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
        await engine.send(mail("near", delayed=due_at.strftime("%F %T")))
        [success] = await engine.results("success", 1)
        assert success["id"] == "near"
        assert arrivals[0] >= due_at
        assert parse_at(success["results"][0]["time"]) >= due_at
        assert sum(await engine.ready(*(f"outbox.delay.{seconds}" for seconds in (60, 70, 80, 90)))) == 100


async def test_mail_for_a_slow_destination_is_parked_and_all_of_it_arrives_once(engine_on: MakeEngine) -> None:
    options = ("domain-maxqueue=20", "ip-maxconnections=2", "rabbitmq-qos=100", "rabbitmq-minqos=10")
    async with engine_on(*options) as engine:
        engine.route("quick.test", "127.0.0.2")
        pace = asyncio.Event()
        held = [*opening(), *mailfrom(), Wait(pace), *rcptto(), *data(), Expect(rb"\r\n\.\r\n"),
                Send(b"250 2.0.0 taken\r\n"), *(transaction() * 200)]  # fmt: skip
        await engine.serve(held, held)
        await engine.sink(address="127.0.0.2")
        await engine.send(*(mail(f"s{number}") for number in range(200)))
        await engine.until_at_least(PARKING, 150)
        await engine.send(*(mail(f"q{number}", recipient="otto@quick.test") for number in range(50)))
        quick = await engine.results("success", 50)
        assert {result["id"][0] for result in quick} == {"q"}
        pace.set()
        found = Counter(result["id"] for result in await engine.results("success", 200))
        assert found == Counter(f"s{number}" for number in range(200))
        assert set(engine.observer.waits) == {"destination over capacity"}
        await eventually(lambda: engine.worker.scheduler.held == 0, "all is settled")
        assert await engine.ready(PARKING, "outbox", "results") == (0, 0, 250)


async def test_what_is_parked_only_gains_seen(engine_on: MakeEngine) -> None:
    async with engine_on("ip-maxconnections=1", tweaks={"broker.max_hold": 0.5}) as engine:
        go = asyncio.Event()
        await engine.serve([*opening(), *mailfrom(), Wait(go), *rcptto(), *data(), Expect(rb"\r\n\.\r\n"),
                            Send(b"250 2.0.0 taken\r\n")])  # fmt: skip
        await engine.send(mail("m1"), mail("m2", keepmime=True, order=10**30))
        await engine.until_ready(PARKING, 1)
        assert engine.observer.waits == ["held too long"]
        [parked] = await engine.results(PARKING, 1)
        assert list(parked) == [*mail("m2", keepmime=True, order=1), "seen"]
        go.set()
        assert [result["id"] for result in await engine.results("success", 1)] == ["m1"]


async def test_no_attempt_outlives_the_time_to_acknowledge(engine_on: MakeEngine) -> None:
    async with engine_on(tweaks={"broker.ack_limit": 1.0, "timeouts.message": 0.1}) as engine:
        await engine.serve([*opening(), *mailfrom(), Wait(asyncio.Event())])
        await engine.send(mail("m1"))
        [retry] = await engine.results("retry", 1)
        assert (retry["results"][0]["state"], retry["results"][0]["result"]) == ("rcptto", "timeout")
        await engine.until_ready("outbox.delay.600", 1)


async def test_the_permissions_that_are_documented_are_enough(engine_on: MakeEngine) -> None:
    user = "lowly"
    own = "^(outbox(\\..*)?|results|success|failure|retry)$"
    write = "^(outbox(\\..*)?|results|success|failure|retry|amq\\.default)$"
    engine = engine_on(
        "retry-interval=1", "ip-maxconnections=1", user=f"{user}:secret", tweaks={"broker.max_hold": 1.0},
        is_started=False,
    )  # fmt: skip
    await engine.ctl("add_user", user, "secret")
    try:
        await engine.ctl("set_permissions", "-p", engine.vhost, user, own, write, "^outbox(\\..*)?$")
        async with engine:
            await engine.start()
            go = asyncio.Event()
            await engine.serve([*opening(), *mailfrom(), *rcptto("450 4.2.0 later"), Expect(rb"RSET\r\n"),
                                Send(b"250 ok\r\n"), *transaction(), *mailfrom(), Wait(go), *rcptto(), *data(),
                                Expect(rb"\r\n\.\r\n"), Send(b"250 ok\r\n"), *transaction()])  # fmt: skip
            await engine.send(mail("retried"))
            assert [len(result["results"]) for result in await engine.results("success", 1)] == [2]
            await engine.send(mail("first"), mail("parked"))
            await engine.until_ready(PARKING, 1)
            engine.worker.scheduler._parked._waiting[DOMAIN] = 0.0  # as after a minute
            go.set()
            assert {result["id"] for result in await engine.results("success", 2)} == {"first", "parked"}
            assert not [text for level, text in engine.lines if level in {"warning", "error"}], engine.lines
    finally:
        await engine.ctl("delete_user", user)
